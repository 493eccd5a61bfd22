/**
 * Traces calls at run time. index.ts and lib/ are compiled into a temporary folder, and there every function that has a body
 * first reports its file and name. Methods, constructors, getters and one-line arrows count like any other function. Field
 * initialisers and implicit constructors do not count. An async function or a generator counts when it starts, not when it goes
 * on after an `await` or a `yield`. Calls into packages and into Node.js do not count.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import ts from 'typescript'
import { filesIn, hasBody, nameOf, ROOT, type FunctionWithBody } from './sources.js'

type Plugin = typeof import('../index.js')['default']

export interface Call {
  readonly file: string
  readonly name: string
}

/** Where a call is: in the same file as the call before, in a new file, or in a file that the walk has left before. */
export type Step = 'same file' | 'new file' | 'return'

const REPORT = '__reportCall' // a global function of the compiled copy
const COMPILER_OPTIONS: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022, // Node.js 20 has no `using`
  module: ts.ModuleKind.ESNext,
  verbatimModuleSyntax: true
}

let calls: Call[] | null = null // `null` while nothing is recorded

export function startTrace (): void {
  calls = []
}

export function stopTrace (): Call[] {
  const recorded = calls ?? []
  calls = null
  return recorded
}

/** Returns the step to each of these calls, in order. */
export function stepsOf (calls: readonly Call[]): Step[] {
  const visited = new Set<string>()
  let last: string | undefined
  return calls.map(({ file }) => {
    const step = file === last ? 'same file' : visited.has(file) ? 'return' : 'new file'
    visited.add(file)
    last = file
    return step
  })
}

/** Calls `use` with a copy of the plugin that reports its calls. */
export async function withTracedPlugin<T> (use: (plugin: Plugin) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'traced-'))
  Object.assign(globalThis, { [REPORT]: (file: string, name: string) => { calls?.push({ file, name }) } })
  try {
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
    for (const file of ['index.ts', ...filesIn('lib')]) compile(file, folder)
    const { default: plugin } = await import(pathToFileURL(join(folder, 'index.js')).href) as { default: Plugin }
    return await use(plugin)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function compile (file: string, folder: string): void {
  const source = ts.createSourceFile(file, readFileSync(join(ROOT, file), 'utf8'), ts.ScriptTarget.Latest, true)
  const { transformed: [reporting] } = ts.transform(source, [insertReports(file)])
  const code = ts.createPrinter().printFile(reporting as ts.SourceFile)
  const path = join(folder, file.replace(/\.ts$/, '.js'))
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, ts.transpile(code, COMPILER_OPTIONS, file))
}

function insertReports (file: string): ts.TransformerFactory<ts.SourceFile> {
  return (context) => (source) => {
    const { factory } = context

    function visit (node: ts.Node): ts.Node {
      const visited = ts.visitEachChild(node, visit, context)
      const { parent } = node
      return hasBody(parent) && parent.body === node ? withReport(visited as ts.ConciseBody, reportOf(parent)) : visited
    }

    function reportOf (node: FunctionWithBody): ts.Expression {
      const values = [file, nameOf(node)].map((value) => factory.createStringLiteral(value))
      return factory.createCallExpression(factory.createIdentifier(REPORT), undefined, values)
    }

    function withReport (body: ts.ConciseBody, report: ts.Expression): ts.Node {
      return ts.isBlock(body)
        ? factory.createBlock([factory.createExpressionStatement(report), ...body.statements], true)
        : factory.createParenthesizedExpression(factory.createComma(report, body))
    }

    return ts.visitEachChild(source, visit, context)
  }
}

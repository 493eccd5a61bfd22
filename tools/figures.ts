/** Figures about the source text. TypeScript's compiler reads the code, so that a comment or a string is never taken for code. */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import ts from 'typescript'
import { filesIn, hasBody, nameOf, nameOfClass, ROOT } from './sources.js'

export interface Count {
  readonly name: string
  readonly count: number
}

const STATE_FIELD = /^#?(state|status)$/

// Matches a wait for a fixed time: a call of `delay()`, also in an arrow, a race or a condition, or a promise of `setTimeout`
const BARE_DELAY = /(?<!function )\b(?:delay|sleep)\((?!\))|new Promise(?:<\w+>)?\(\(?(\w+)\)? => (?:\{ )?setTimeout\(\1\b/g

const FILES = ['index.ts', ...filesIn('lib')]
const program = ts.createProgram(FILES.map((file) => join(ROOT, file)), readCompilerOptions())
const checker = program.getTypeChecker()
const sources = FILES.map((file) => ({ file, source: program.getSourceFile(join(ROOT, file)) as ts.SourceFile }))

function readCompilerOptions (): ts.CompilerOptions {
  const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), ts.sys.readFile)
  return ts.parseJsonConfigFileContent(config, ts.sys, ROOT).options
}

/** How many files are directly in each folder of lib/, the fullest first. */
export function filesPerFolder (): Count[] {
  const counts = new Map<string, number>()
  for (const folder of filesIn('lib').map(dirname)) counts.set(folder, (counts.get(folder) ?? 0) + 1)
  return sorted([...counts].map(([name, count]) => ({ name, count })))
}

/** Lines of code of each file, the longest first: lines that hold more than white space and comments. */
export function linesPerFile (): Count[] {
  return sorted(sources.map(({ file, source }) => ({ name: file, count: linesOfCode(source, source) })))
}

/** Lines of code of each function, the longest first. A function within another function counts in both. */
export function linesPerFunction (): Count[] {
  return sorted(everyNode(hasBody).map(({ node, file, source }) => ({ name: `${file}: ${nameOf(node)}`, count: linesOfCode(node, source) })))
}

function linesOfCode (root: ts.Node, source: ts.SourceFile): number {
  const lines = new Set<number>()
  function visit (node: ts.Node): void {
    if (ts.isJSDoc(node)) return
    const children = node.getChildren(source)
    for (const child of children) visit(child)
    if (children.length > 0 || node.getWidth(source) === 0) return
    const lineAt = (position: number) => source.getLineAndCharacterOfPosition(position).line
    for (let line = lineAt(node.getStart(source)); line <= lineAt(node.getEnd()); line++) lines.add(line) // a template spans several lines
  }
  visit(root)
  return lines.size
}

/** How many fields each object of a class has, the largest first. Fields of our own base classes count too. */
export function fieldsPerClass (): Count[] {
  return sorted(everyNode(ts.isClassLike).map(({ node, file }) => ({
    name: `${nameOfClass(node)} (${file})`,
    count: [node, ...baseClasses(node)].flatMap(fieldsOf).length
  })))
}

function baseClasses (node: ts.ClassLikeDeclaration): ts.ClassLikeDeclaration[] {
  const base = checker.getTypeAtLocation(node).getBaseTypes()?.[0]?.symbol?.valueDeclaration
  const isOurs = base !== undefined && ts.isClassLike(base) && sources.some(({ source }) => source === base.getSourceFile())
  return isOurs ? [base, ...baseClasses(base)] : []
}

type Field = ts.PropertyDeclaration | ts.ParameterPropertyDeclaration

/** Private and public fields, and constructor parameters that are fields. Static fields and fields that are only declared do not count. */
function fieldsOf (node: ts.ClassLikeDeclaration): Field[] {
  const declared = node.members.filter(ts.isPropertyDeclaration).filter((field) =>
    (ts.getCombinedModifierFlags(field) & (ts.ModifierFlags.Static | ts.ModifierFlags.Ambient | ts.ModifierFlags.Abstract)) === 0)
  const parameters = node.members.filter(ts.isConstructorDeclaration).flatMap(({ parameters }) =>
    parameters.filter((parameter) => ts.isParameterPropertyDeclaration(parameter, parameter.parent)))
  return [...declared, ...parameters as ts.ParameterPropertyDeclaration[]]
}

/**
 * The fields of every class with its own or an inherited state field that may be states too, because they are boolean or can be
 * `null` or `undefined`. A human has to judge, because an optional value need not be a state.
 */
export function possibleStates (): { name: string, fields: string[] }[] {
  return everyNode(ts.isClassLike).flatMap(({ node, file }) => {
    const hasState = [node, ...baseClasses(node)].flatMap(fieldsOf).some(({ name }) => STATE_FIELD.test(name.getText()))
    const fields = fieldsOf(node).flatMap((field) => {
      const kind = kindOfState(field)
      return kind === null ? [] : [`${field.name.getText()} (${kind})`]
    })
    return hasState && fields.length > 0 ? [{ name: `${nameOfClass(node)} (${file})`, fields }] : []
  })
}

function kindOfState (field: Field): 'boolean' | 'nullable' | null {
  if ((ts.getCombinedModifierFlags(field) & ts.ModifierFlags.Readonly) !== 0) return null // the field never changes
  const type = checker.getTypeAtLocation(field)
  const has = (wanted: ts.TypeFlags) => (type.isUnion() ? type.types : [type]).some(({ flags }) => (flags & wanted) !== 0)
  if (has(ts.TypeFlags.Null | ts.TypeFlags.Undefined)) return 'nullable'
  return has(ts.TypeFlags.BooleanLike) ? 'boolean' : null
}

/** The files of lib/ that have no test/<the same path>.test.ts. A file that holds only types does not need one. */
export function filesWithoutTest (): string[] {
  return sources
    .filter(({ file, source }) => file.startsWith('lib/') && !source.statements.every(isTypeOnly))
    .map(({ file }) => file)
    .filter((file) => !existsSync(join(ROOT, file.replace(/^lib\//, 'test/').replace(/[.]ts$/, '.test.ts'))))
}

/** Whether a statement of a module leaves no code behind once the types are taken away. */
function isTypeOnly (statement: ts.Statement): boolean {
  return ts.isInterfaceDeclaration(statement) || ts.isTypeAliasDeclaration(statement) ||
    (ts.isImportDeclaration(statement) && statement.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword) ||
    (ts.isExportDeclaration(statement) && statement.isTypeOnly)
}

/** How many bare delays are in each file of test/, the most first. */
export function bareDelays (): Count[] {
  return sorted(filesIn('test').map((file) => ({
    name: file,
    count: [...readFileSync(join(ROOT, file), 'utf8').matchAll(BARE_DELAY)].length
  })).filter(({ count }) => count > 0))
}

function everyNode<T extends ts.Node> (isWanted: (node: ts.Node) => node is T): { node: T, file: string, source: ts.SourceFile }[] {
  return sources.flatMap(({ file, source }) => {
    const found: T[] = []
    function visit (node: ts.Node): void {
      if (isWanted(node)) found.push(node)
      ts.forEachChild(node, visit)
    }
    visit(source)
    return found.map((node) => ({ node, file, source }))
  })
}

function sorted (counts: Count[]): Count[] {
  return counts.sort((a, b) => b.count - a.count)
}

/** Prints how hard the code is to follow, in figures. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Count } from './figures.js'
import { ROOT } from './sources.js'
import { stepsOf, type Call, type Step } from './trace.js'
import { traceWalks } from './walks.js'

const USAGE = `npm run structure -- [options]
  --verbose      lists the functions of every walk, in order: '>' marks a new file, '<' a return to one
  --walk TEXT    prints only the walks whose name contains it`

const HOW = `
How it counts
- Walks: the functions of index.ts and lib/ that run, in order, on a real server over TCP, with Fastify's logger off. Every
  function that has a body counts, getters and one-line arrows too; an async function counts when it starts. Calls into packages
  and into Node.js do not count. Consecutive calls in one file are one step; each later step into that file is a return.
- Lines of code hold more than white space and comments. A function within another function counts in both.
- Fields include those of our own base classes, and exclude static ones.
- A file of lib/ that holds only types needs no unit test.
- A bare delay is an await of delay() or of a promise of setTimeout(), in test/, polling included.
- Possible states are mutable boolean and nullable fields of a class that has or inherits a field named state or status.
`

const MARKS: Record<Step, string> = { 'same file': ' ', 'new file': '>', return: '<' }
const LONG_FUNCTION = 30 // lines
const IMPORT_RULES = '.dependency-cruiser.mjs'

interface Violation {
  readonly from: string
  readonly to: string
  readonly rule: { readonly name: string }
}

const { values: { verbose: isVerbose, walk: wanted, help: asksForHelp } } = parseArgs({
  options: {
    verbose: { type: 'boolean', default: false },
    walk: { type: 'string' },
    help: { type: 'boolean', default: false }
  }
})

function printWalks (walks: readonly [name: string, calls: Call[]][]): void {
  printTable(['walk', 'calls', 'files', 'returns to a file already left'], walks.map(([name, calls]) => {
    const count = (wanted: Step) => stepsOf(calls).filter((step) => step === wanted).length
    return [name, calls.length, count('new file'), count('return')]
  }))
  if (isVerbose) for (const [name, calls] of walks) printCalls(name, calls)
}

function printCalls (walk: string, calls: readonly Call[]): void {
  console.log(`\n${walk}`)
  for (const [i, step] of stepsOf(calls).entries()) console.log(`  ${MARKS[step]} ${calls[i]?.file}: ${calls[i]?.name}`)
}

async function printFigures (): Promise<void> {
  const figures = await import('./figures.js') // imported only if needed, because it reads all types, which takes seconds
  const [folder] = figures.filesPerFolder()
  const [file] = figures.linesPerFile()
  const classes = figures.fieldsPerClass()
  const functions = figures.linesPerFunction().filter(({ count }) => count > LONG_FUNCTION)
  const states = figures.possibleStates()
  const untested = figures.filesWithoutTest()
  const delays = figures.bareDelays()
  const violations = readViolations()
  const countImports = (pattern: RegExp) => violations?.filter(({ rule }) => pattern.test(rule.name)).length ?? `no ${IMPORT_RULES}`

  printTable(['figure', 'count', 'where'], [
    ['files in the fullest folder of lib/', folder?.count, folder?.name],
    ['lines of code in the longest file', file?.count, file?.name],
    ['fields in the largest class', classes[0]?.count, classes[0]?.name],
    ['possible states beside a state field', states.flatMap(({ fields }) => fields).length, 'see below'],
    [`functions over ${LONG_FUNCTION} lines`, functions.length, 'see below'],
    ['upward imports', countImports(/only-down$/), 'see below'],
    ['circles', countImports(/^no-circle$/), 'see below'],
    ['files of lib/ without a unit test', untested.length, 'see below'],
    ['bare delays in tests', delays.reduce((sum, { count }) => sum + count, 0), 'see below']
  ])
  printCounts('The largest classes, fields', classes.slice(0, 5))
  printList('Possible states beside a state field', states.map(({ name, fields }) => `${name}: ${fields.join(', ')}`))
  printCounts(`Functions over ${LONG_FUNCTION} lines`, functions)
  printList('Forbidden imports', (violations ?? []).map(({ from, to, rule }) => `${from} -> ${to} (${rule.name})`))
  printList('Files of lib/ without a unit test', untested)
  printCounts('Bare delays in tests', delays)
}

/** The violations that `npm run imports` finds, or `null` in a checkout without its rules. */
function readViolations (): Violation[] | null {
  if (!existsSync(join(ROOT, IMPORT_RULES))) return null
  const { stdout, stderr, status } = spawnSync(join(ROOT, 'node_modules/.bin/depcruise'),
    ['--config', IMPORT_RULES, '--output-type', 'json', 'lib', 'index.ts'], { cwd: ROOT, encoding: 'utf8', maxBuffer: 2 ** 26 })
  if (status !== 0) throw new Error(`depcruise failed: ${stderr}`)
  return JSON.parse(stdout).summary.violations
}

function printTable (head: string[], rows: unknown[][]): void {
  console.log([head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n'))
}

function printCounts (title: string, counts: Count[]): void {
  printList(title, counts.map(({ name, count }) => `${count} ${name}`))
}

function printList (title: string, items: string[]): void {
  console.log(`\n${title}\n${items.map((item) => `- ${item}`).join('\n') || '- none'}`)
}

if (asksForHelp) {
  console.log(USAGE)
  console.log(HOW)
} else {
  printWalks(await traceWalks(wanted ?? ''))
  if (wanted === undefined) {
    console.log()
    await printFigures()
    console.log(HOW)
  }
}

/** The kept results as the table of the README. */
import type { Row } from '../measure/measure.js'
import type { Spread } from '../measure/statistics.js'
import { memoryName, type Kept } from './kept.js'
import { BASE, SCENARIOS, type ServerName } from '../scenarios.js'

const COLUMNS: readonly { readonly server: ServerName, readonly title: string }[] = [
  { server: 'ours', title: 'here' },
  { server: 'ours, tryReceive', title: 'with `tryReceive()`' },
  { server: 'event, corked', title: 'corked by hand' },
  { server: 'uws', title: 'uWebSockets.js' }
]

const COUNTED: readonly ServerName[] = ['ours', 'ours, tryReceive']

/**
 * One row for each scenario: the factors in CPU time with their quartiles, and the factors in instructions, if they were counted for the same build.
 * @throws if the CPU times are of more than one run
 */
export function markdown ({ timed, instructions, memory }: Kept): string {
  const names = SCENARIOS.map(({ name }) => name).filter((name) => timed[name] !== undefined)
  const build = theOneRun(timed, names).build
  const lines = names.map((name) => {
    const counts = COUNTED.map((server) => instructions[name]?.[server])
    return [
      name,
      ...COLUMNS.map(({ server }) => cellOf(timed[name]?.[server])),
      ...counts.map((count) => count !== undefined && count.run.build === build ? count.ratio.toFixed(2) : '')
    ]
  })
  const head = ['connections × in flight × size', ...COLUMNS.map(({ title }) => title), 'instructions, here', 'with `tryReceive()`']
  return [head, head.map(() => '---'), ...lines].map(line).concat('', memoryLines(memory)).join('\n')
}

function theOneRun (timed: Kept['timed'], names: readonly string[]): Readonly<Record<string, string>> {
  const runs = names.flatMap((name) => Object.values(timed[name] ?? {}).map(({ run }) => run))
  const [first] = runs
  if (first === undefined) throw new Error('There is no result yet: npm run bench')
  if (runs.some(({ date }) => date !== first.date)) throw new Error('The results are of more than one run, but the README shows one: npm run bench')
  return first
}

function cellOf (row: Row | undefined): string {
  return row === undefined ? '' : ratioText(row.cpuRatio)
}

function ratioText ({ median, lower, upper }: Spread): string {
  return `${round(median)} (${round(lower)}–${round(upper)})`
}

// Three digits are more than a run repeats
function round (ratio: number): string {
  return ratio >= 9.95 ? ratio.toFixed(0) : ratio >= 1.995 ? ratio.toFixed(1) : ratio.toFixed(2)
}

function memoryLines (memory: Kept['memory']): string[] {
  return [1_000, 10_000].flatMap((connections) => {
    const rows = memory[memoryName(connections)]
    if (rows?.ours === undefined || rows[BASE] === undefined) return []
    const [own, base] = [rows.ours, rows[BASE]].map(({ bytesPerConnection }) => `${(bytesPerConnection / 1024).toFixed(1)} KiB`)
    return [`Memory of an idle connection, of ${connections.toLocaleString('en')}: ${own}, against ${base}.`]
  })
}

function line (cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`
}

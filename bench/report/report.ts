import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { availableParallelism, cpus, release } from 'node:os'
import { join } from 'node:path'
import { memoryName, type Kept } from './kept.js'
import { instructionSpread, verdict } from './verdict.js'
import type { Result, Row } from '../measure/measure.js'
import type { MemoryResult } from '../measure/memory.js'
import { describePinning, ROOT } from '../processes/processes.js'
import { BASE } from '../scenarios.js'
import type { InstructionResult, InstructionRow } from '../measure/instructions.js'
import { areApart, type Spread } from '../measure/statistics.js'
import type { SyscallResult } from '../measure/syscalls.js'

export interface Report {
  readonly header: Readonly<Record<string, string>>
  readonly results: Result[]
  readonly memory: MemoryResult[]
  readonly syscalls: SyscallResult[]
  readonly instructions: InstructionResult[]
}

/** From this share of its CPU on, the load generator counts as the limit of the rate. */
const LIMITED = 0.95
/** From this share of the time on, other processes count as a disturbance. */
const DISTURBED = 0.1

interface Mark {
  readonly sign: string
  readonly note: string
  applies (row: Row): boolean
}

/** Warnings about the rate and the times of a row. */
const MARKS: readonly Mark[] = [
  {
    sign: '†',
    note: `the load generator used ${LIMITED * 100} % of its CPU or more and limits the rate`,
    applies: ({ loadShare }) => loadShare >= LIMITED
  },
  {
    sign: '‡',
    note: `other processes had the CPU for ${DISTURBED * 100} % of the time or more: measure again on a quiet machine`,
    applies: ({ waitShare }) => waitShare >= DISTURBED
  }
]

export function newReport (command: string): Report {
  const [cpu] = cpus()
  const header = {
    cpu: cpu?.model.trim() ?? 'unknown',
    cores: String(availableParallelism()),
    linux: release(),
    pinning: describePinning(),
    node: process.versions.node,
    fastify: versionOf('fastify'),
    '@fastify/websocket': versionOf('@fastify/websocket'),
    ws: versionOf('ws'),
    build: buildOf(join(ROOT, 'dist')),
    date: new Date().toISOString(),
    command
  }
  return { header, results: [], memory: [], syscalls: [], instructions: [] }
}

function versionOf (name: string): string {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'node_modules', name, 'package.json'), 'utf8')) as { version: string }
  return version
}

// Figures of two builds are compared, but not mixed in one verdict
function buildOf (directory: string): string {
  const hash = createHash('sha256')
  const files = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.js')).toSorted()
  for (const file of files) hash.update(file).update(readFileSync(join(directory, file)))
  return hash.digest('hex').slice(0, 12)
}

export function headerText ({ header }: Report): string {
  return Object.entries(header).map(([name, value]) => `${name.padEnd(18)} ${value}`).join('\n')
}

export const LEGEND = `Names: connections × messages in flight on each × size. × ${BASE}: rate ÷ its rate, its CPU ÷ CPU (more is better), the median
of the rounds, and in brackets the quartiles, between which half of the rounds lie: a disturbed round moves them less than the extremes
Change: of the CPU's factor since the last result, with ! where the two spreads have nothing in common
Verdict: whether a message needs less or more than with ${BASE}, by CPU time, or if that is near 1 or has 1 in its spread,
by instructions of the same build, which npm run bench -- --instructions counts`

export function resultText ({ scenario, unit, rows }: Result, kept: Kept, { header }: Report): string {
  const head = ['', `${unit}s/s`, `× ${BASE}`, `CPU µs/${unit}`, `× ${BASE}`, 'change', 'p50 ms', 'p99 ms', 'verdict']
  const notes = MARKS.filter(({ applies }) => rows.some(applies)).map(({ sign, note }) => `  ${sign} ${note}`)
  const lines = rows.map((row) => {
    const last = kept.timed[scenario]?.[row.server]
    const count = kept.instructions[scenario]?.[row.server]
    return cells(row, changeText(row.cpuRatio, last?.cpuRatio), count?.run.build === header.build ? count : undefined)
  })
  return [table(scenario, head, lines), ...notes].join('\n')
}

function cells (row: Row, change: string, count: InstructionRow | undefined): string[] {
  const signs = MARKS.filter(({ applies }) => applies(row)).map(({ sign }) => sign).join('')
  const isBase = row.server === BASE
  return [
    row.server,
    Math.round(row.rate).toLocaleString('en') + signs,
    isBase ? '' : ratioText(row.rateRatio) + signs,
    row.cpu.toFixed(2),
    isBase ? '' : ratioText(row.cpuRatio),
    isBase ? '' : change,
    ...[row.p50, row.p99].map((time) => Number.isNaN(time) ? '-' : time.toFixed(2) + signs),
    isBase ? '' : verdict(row.cpuRatio, count)
  ]
}

function ratioText ({ median, lower, upper }: Spread): string {
  return `${median.toFixed(2)} (${lower.toFixed(2)}–${upper.toFixed(2)})`
}

function changeText (now: Spread, last: Spread | undefined): string {
  if (last === undefined) return '-'
  const percent = (now.median / last.median - 1) * 100
  return `${percent < 0 ? '−' : '+'}${Math.abs(percent).toFixed(1)} %${areApart(now, last) ? ' !' : ''}`
}

export function memoryText ({ connections, rows }: MemoryResult): string {
  return table(memoryName(connections), ['', 'RSS per connection'], rows.map(({ server, bytesPerConnection }) => [server, `${(bytesPerConnection / 1024).toFixed(1)} KiB`]))
}

export function syscallText ({ scenario, server, writes, reads, waits, all }: SyscallResult): string {
  const head = ['', 'write+writev', 'read', 'epoll_wait', 'all']
  return table(`system calls per message, ${scenario}`, head, [[server, ...[writes, reads, waits, all].map((calls) => calls.toFixed(3))]])
}

export const INSTRUCTION_LEGEND = `Instructions that the server executes in user space. What the kernel does in system calls is not in them, so what saves system calls
saves more than they show. ±: standard error. × ${BASE}: its instructions ÷ instructions (more is better)
Each server runs in one thread, with all connections of the scenario, whose messages it finds in one turn of its event loop. Windows in which
the compiler or a collection of the whole heap was at work are left out`

export function instructionText ({ scenario, unit, rows }: InstructionResult, kept: Kept, { header }: Report): string {
  const head = ['', `instructions/${unit}`, '±', `× ${BASE}`, 'change', 'windows', 'verdict']
  const lines = rows.map((row) => {
    const last = kept.instructions[scenario]?.[row.server]
    const time = kept.timed[scenario]?.[row.server]
    return instructionCells(row, changeText(instructionSpread(row), last && instructionSpread(last)), time?.run.build === header.build ? time?.cpuRatio : undefined)
  })
  const notes = rows.every(({ isSteady }) => isSteady) ? [] : ['  § the compiler had not settled: count again']
  return [table(`instructions, ${scenario}`, head, lines), ...notes].join('\n')
}

function instructionCells (row: InstructionRow, change: string, time: Spread | undefined): string[] {
  const { server, instructions, error, ratio, isSteady, windows } = row
  const isBase = server === BASE
  return [
    server,
    Math.round(instructions).toLocaleString('en') + (isSteady ? '' : '§'),
    `${(error * 100).toFixed(1)} %`,
    isBase ? '' : ratio.toFixed(3),
    isBase ? '' : change,
    String(windows.length),
    isBase ? '' : verdict(time, row)
  ]
}

// The first column is aligned to the left, the others to the right
function table (name: string, head: readonly string[], rows: readonly string[][]): string {
  const lines = [head, ...rows]
  const widths = head.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)))
  const toText = (line: readonly string[]) => line.map((cell, column) =>
    column === 0 ? cell.padEnd(Math.max(16, widths[0] ?? 0)) : cell.padStart(widths[column] ?? 0)).join('  ')
  return [`\n${name}`, ...lines.map((line) => `  ${toText(line)}`)].join('\n')
}

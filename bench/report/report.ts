import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, release } from 'node:os'
import { join } from 'node:path'
import type { Result, Row } from '../measure/measure.js'
import type { MemoryResult } from '../measure/memory.js'
import { describePinning, ROOT } from '../processes/processes.js'
import { BASE } from '../scenarios.js'
import type { InstructionResult } from '../measure/instructions.js'
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
    date: new Date().toISOString(),
    command
  }
  return { header, results: [], memory: [], syscalls: [], instructions: [] }
}

function versionOf (name: string): string {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'node_modules', name, 'package.json'), 'utf8')) as { version: string }
  return version
}

export function headerText ({ header }: Report): string {
  return Object.entries(header).map(([name, value]) => `${name.padEnd(18)} ${value}`).join('\n')
}

export const LEGEND = `Names: connections × messages in flight on each × size. × ${BASE}: rate ÷ its rate, its CPU ÷ CPU (more is better)`

export function resultText ({ scenario, unit, rows }: Result): string {
  const head = ['', `${unit}s/s`, `× ${BASE}`, `CPU µs/${unit}`, `× ${BASE}`, 'p50 ms', 'p99 ms']
  const notes = MARKS.filter(({ applies }) => rows.some(applies)).map(({ sign, note }) => `  ${sign} ${note}`)
  return [table(scenario, head, rows.map(cells)), ...notes].join('\n')
}

function cells (row: Row): string[] {
  const signs = MARKS.filter(({ applies }) => applies(row)).map(({ sign }) => sign).join('')
  return [
    row.server,
    Math.round(row.rate).toLocaleString('en') + signs,
    row.rateRatio.toFixed(2) + signs,
    row.cpu.toFixed(2),
    row.cpuRatio.toFixed(2),
    ...[row.p50, row.p99].map((time) => Number.isNaN(time) ? '-' : time.toFixed(2) + signs)
  ]
}

export function memoryText ({ connections, rows }: MemoryResult): string {
  const name = `memory, ${connections.toLocaleString('en')} idle connections`
  return table(name, ['', 'RSS per connection'], rows.map(({ server, bytesPerConnection }) => [server, `${(bytesPerConnection / 1024).toFixed(1)} KiB`]))
}

export function syscallText ({ scenario, server, writes, reads, waits, all }: SyscallResult): string {
  const head = ['', 'write+writev', 'read', 'epoll_wait', 'all']
  return table(`system calls per message, ${scenario}`, head, [[server, ...[writes, reads, waits, all].map((calls) => calls.toFixed(3))]])
}

export const INSTRUCTION_LEGEND = `Instructions of the server in user space, compiler settled, with the collection of young objects. They leave out the kernel's
share: what a system call costs beyond its entry is not in them. ±: standard error. × ${BASE}: its instructions ÷ instructions (more is better)
Each server runs alone, in one thread, with all the connections of the scenario; under valgrind it is so slow that all of them wait for it`

export function instructionText ({ scenario, unit, rows }: InstructionResult): string {
  const head = ['', `instructions/${unit}`, '±', `× ${BASE}`, 'windows']
  const lines = rows.map(({ server, instructions, error, ratio, isSteady, windows }) =>
    [server, Math.round(instructions).toLocaleString('en') + (isSteady ? '' : '§'), `${(error * 100).toFixed(1)} %`, ratio.toFixed(3), String(windows.length)])
  const notes = rows.every(({ isSteady }) => isSteady) ? [] : ['  § the compiler had not settled: count again']
  return [table(`instructions, ${scenario}`, head, lines), ...notes].join('\n')
}

// The first column is aligned to the left, the others to the right
function table (name: string, head: readonly string[], rows: readonly string[][]): string {
  const lines = [head, ...rows]
  const widths = head.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)))
  const toText = (line: readonly string[]) => line.map((cell, column) =>
    column === 0 ? cell.padEnd(Math.max(16, widths[0] ?? 0)) : cell.padStart(widths[column] ?? 0)).join('  ')
  return [`\n${name}`, ...lines.map((line) => `  ${toText(line)}`)].join('\n')
}

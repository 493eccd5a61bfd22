/** The last results, which are kept in a file for the next run to compare with. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import type { InstructionRow } from '../measure/instructions.js'
import type { Row } from '../measure/measure.js'
import type { Report } from './report.js'
import type { ServerName } from '../scenarios.js'

/** What a run has measured, and of which build. */
type Stamped<T> = T & { readonly run: Readonly<Record<string, string>> }

type Section = 'timed' | 'instructions' | 'memory' | 'syscalls'
interface Rows {
  timed: Row
  instructions: InstructionRow
  memory: Report['memory'][number]['rows'][number]
  syscalls: Report['syscalls'][number]
}

/** By section, scenario and server. */
type Table<T> = Partial<Record<string, Partial<Record<ServerName, Stamped<T>>>>>

export type Kept = { readonly [S in Section]: Table<Rows[S]> }

/** Returns the kept results, or empty ones if there is no file. */
export function readKept (file: string): Kept {
  const empty: Kept = { timed: {}, instructions: {}, memory: {}, syscalls: {} }
  if (!existsSync(file)) return empty
  const kept = JSON.parse(readFileSync(file, 'utf8')) as Partial<Kept> // written by `keep()`
  return { ...empty, ...kept }
}

/** Replaces what a run has measured again, and keeps the rest. */
export function keep (file: string, kept: Kept, report: Report): void {
  const merged: Kept = {
    timed: withRows(kept.timed, report.results, report),
    instructions: withRows(kept.instructions, report.instructions, report),
    memory: withRows(kept.memory, report.memory.map(({ connections, rows }) => ({ scenario: memoryName(connections), rows })), report),
    syscalls: withRows(kept.syscalls, report.syscalls.map((row) => ({ scenario: row.scenario, rows: [row] })), report)
  }
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, `${JSON.stringify(merged, null, 2)}\n`)
}

export function memoryName (connections: number): string {
  return `memory, ${connections.toLocaleString('en')} idle connections`
}

function withRows<T extends { readonly server: ServerName }> (table: Table<T>, results: readonly { readonly scenario: string, readonly rows: readonly T[] }[], { header }: Report): Table<T> {
  const merged = { ...table }
  for (const { scenario, rows } of results) {
    const fresh = rows.map((row) => [row.server, { ...row, run: header }])
    merged[scenario] = { ...merged[scenario], ...Object.fromEntries(fresh) }
  }
  return merged
}

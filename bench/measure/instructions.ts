import { CallgrindServer, type CallgrindPrograms } from './callgrind.js'
import type { Processes } from '../processes/processes.js'
import { mean, standardError } from './statistics.js'
import { BASE, type Scenario, type ServerName } from '../scenarios.js'

/** How much is counted. */
export interface CountPlan {
  /** How many instructions a window should have. */
  readonly window: number
  /** So many steady windows are needed. */
  readonly steady: number
  /** After so many windows the count ends in any case. */
  readonly most: number
}

/** Windows count as steady within this share above the lowest one. They differ because one has a garbage collection more than another. */
const STEADY = 0.015

export interface InstructionRow {
  readonly server: ServerName
  /** User-space instructions of the server for one message or one upgrade: the mean of the steady windows. */
  readonly instructions: number
  /** The standard error of `instructions`, as a share of it. */
  readonly error: number
  /** Those of the base divided by these: more is better. */
  readonly ratio: number
  /** Whether there were enough steady windows. */
  readonly isSteady: boolean
  /** The figures of all windows, in order. */
  readonly windows: readonly number[]
}

export interface InstructionResult {
  readonly scenario: string
  readonly unit: 'message' | 'upgrade'
  readonly rows: readonly InstructionRow[]
}

/** Counts the instructions of each server for one message. */
export async function countInstructions (processes: Processes, programs: CallgrindPrograms, scenario: Scenario, servers: readonly ServerName[], plan: CountPlan): Promise<InstructionResult> {
  const counts = new Map<ServerName, readonly number[]>()
  for (const name of servers) {
    const server = await CallgrindServer.start(processes, programs, name, scenario)
    try {
      counts.set(name, await countWindows(processes.load, server, scenario, plan))
    } finally {
      await server.end()
    }
  }
  const base = mean(steadyOf(counts.get(BASE) ?? []))
  const rows = [...counts].map(([server, windows]) => toRow(server, windows, base, plan))
  return { scenario: scenario.name, unit: scenario.kind === 'upgrades' ? 'upgrade' : 'message', rows }
}

// The windows begin with one batch and grow as the compiler makes a message cheaper
async function countWindows (load: Processes['load'], server: CallgrindServer, scenario: Scenario, plan: CountPlan): Promise<number[]> {
  const target = { scenario, port: server.port, pid: server.pid }
  await load.ask('verify', target)
  await load.ask('open', target)
  await server.beginCounting()
  const windows: number[] = []
  let start = await server.count()
  let batches = 1
  do {
    const messages = await load.ask('exchange', { batches })
    const end = await server.count()
    windows.push((end - start) / messages)
    batches = Math.max(1, Math.round(batches * plan.window / (end - start)))
    start = end
  } while (steadyOf(windows).length < plan.steady && windows.length < plan.most)
  await load.ask('close', undefined)
  return windows
}

function toRow (server: ServerName, windows: readonly number[], base: number, plan: CountPlan): InstructionRow {
  const steady = steadyOf(windows)
  const instructions = mean(steady)
  return {
    server,
    instructions,
    error: standardError(steady) / instructions,
    ratio: base / instructions,
    isSteady: steady.length >= plan.steady,
    windows
  }
}

// What the compiler does and a collection of the whole heap only add to a window, so the lowest windows are those without them
function steadyOf (windows: readonly number[]): number[] {
  const lowest = Math.min(...windows)
  return windows.filter((window) => window <= lowest * (1 + STEADY))
}

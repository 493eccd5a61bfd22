import { readFileSync } from 'node:fs'
import { median } from './statistics.js'
import type { Processes } from '../processes/processes.js'
import { BASE, SMALL_ECHO, type ServerName } from '../scenarios.js'

export const MEMORY_SERVERS: readonly ServerName[] = [BASE, 'ours', 'ws']

export interface MemoryResult {
  readonly connections: number
  readonly rows: readonly { readonly server: ServerName, readonly bytesPerConnection: number }[]
}

const SPARE_FILES = 100 // files that a process has open besides its connections

/** Whether the limit of open files allows a process so many connections. */
export function mayHold (connections: number): boolean {
  const [, limit] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? []
  return Number(limit ?? Infinity) >= connections + SPARE_FILES
}

/** Measures how much resident memory the server has for an idle connection that has exchanged one message. */
export async function measureMemory (processes: Processes, servers: readonly ServerName[], connections: number, rounds: number): Promise<MemoryResult> {
  const figures = new Map(servers.map((name) => [name, [] as number[]]))
  for (let i = 0; i < rounds; i++) {
    for (const [name, values] of figures) values.push(await bytesPerConnection(processes, name, connections))
  }
  const rows = [...figures].map(([server, values]) => ({ server, bytesPerConnection: median(values) }))
  return { connections, rows }
}

async function bytesPerConnection (processes: Processes, name: ServerName, connections: number): Promise<number> {
  const { process: server, port } = await processes.fresh(name, { nodeOptions: ['--expose-gc'] })
  try {
    await processes.load.ask('verify', { scenario: SMALL_ECHO, port })
    const before = await server.ask('residentMemory', undefined)
    await processes.load.ask('hold', { port, connections })
    const after = await server.ask('residentMemory', undefined)
    await processes.load.ask('release', undefined)
    return (after - before) / connections
  } finally {
    await server.end()
  }
}

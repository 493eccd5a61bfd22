import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { Processes } from '../processes/processes.js'
import { BASE, SCENARIOS, type Scenario, type ServerName } from '../scenarios.js'

const NAMES = ['64 × 1 × 20 B', '16 × 64 × 20 B']
const WARM_UP = 250 // ms
const WINDOW = 1000

export interface SyscallResult {
  readonly scenario: string
  readonly server: ServerName
  /** Calls per message, as are the other figures. */
  readonly writes: number
  readonly reads: number
  readonly waits: number
  readonly all: number
}

/** Counts the system calls of the servers with strace, which slows them down, so more messages come together than without it. */
export async function * measureSyscalls (processes: Processes, strace: string): AsyncGenerator<SyscallResult> {
  for (const scenario of SCENARIOS.filter(({ name }) => NAMES.includes(name))) {
    for (const server of [BASE, 'ours'] as const) yield await countCalls(processes, strace, scenario, server)
  }
}

async function countCalls (processes: Processes, strace: string, scenario: Scenario, name: ServerName): Promise<SyscallResult> {
  const { process: { pid }, port } = await processes.server(name, scenario)
  await processes.load.ask('measure', { scenario, port, pid, warmUp: WARM_UP, window: WARM_UP }) // a warm-up, so that the code is compiled
  const tracer = spawn(strace, ['-f', '-c', '-p', String(pid)], { stdio: ['ignore', 'ignore', 'pipe'] })
  try {
    const output = textOf(tracer)
    await output.has('attached')
    const { total } = await processes.load.ask('measure', { scenario, port, pid, warmUp: WARM_UP, window: WINDOW })
    const ended = once(tracer, 'close')
    tracer.kill('SIGINT') // it then writes the table
    await ended
    return toResult(scenario.name, name, readTable(output.text()), total)
  } finally {
    tracer.kill('SIGKILL')
  }
}

function textOf (tracer: ChildProcess): { text: () => string, has: (part: string) => Promise<void> } {
  let text = ''
  tracer.stderr?.setEncoding('utf8').on('data', (chunk: string) => { text += chunk })
  const has = (part: string) => new Promise<void>((resolve, reject) => {
    tracer.stderr?.on('data', () => { if (text.includes(part)) resolve() })
    tracer.on('error', reject).on('close', () => reject(new Error(`strace: ${text.trim()}`)))
  })
  return { text: () => text, has }
}

// The columns are: % time, seconds, µs per call, calls, errors if there were any, name
function readTable (text: string): Map<string, number> {
  const lines = text.matchAll(/^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)(?:\s+\d+)?\s+(\w+)$/gm)
  return new Map([...lines].map(([, calls, name = '']) => [name, Number(calls)]))
}

function toResult (scenario: string, server: ServerName, calls: Map<string, number>, messages: number): SyscallResult {
  const each = (...names: string[]) => names.reduce((sum, name) => sum + (calls.get(name) ?? 0), 0) / messages
  calls.delete('total')
  return {
    scenario,
    server,
    writes: each('write', 'writev'),
    reads: each('read'),
    waits: each('epoll_wait', 'epoll_pwait'),
    all: each(...calls.keys())
  }
}

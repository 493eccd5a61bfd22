import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Processes, RunningServer } from '../processes/processes.js'
import type { Scenario, ServerName } from '../scenarios.js'

const run = promisify(execFile)

/**
 * With one thread and fixed seeds a run repeats the one before, and what the compiler and the garbage collector do in other threads is counted too.
 * The fixed schedule keeps the collector from judging by the clock: under valgrind a server is so slow that it seems idle, and its heap was collected
 * and made smaller at the wrong times, which changed the count by 5 to 20 %.
 */
const NODE_OPTIONS = ['--single-threaded', '--hash-seed=1', '--random-seed=1', '--predictable-gc-schedule']

const IDLE = 20_000 // instructions between two readings, less than for any message: the readings themselves wake the server

export interface CallgrindPrograms {
  readonly valgrind: string
  readonly vgdb: string
}

/** A server that runs under callgrind, which counts its instructions. */
export class CallgrindServer {
  readonly #server: RunningServer
  readonly #vgdb: string
  readonly #directory: string

  private constructor (server: RunningServer, vgdb: string, directory: string) {
    this.#server = server
    this.#vgdb = vgdb
    this.#directory = directory
  }

  /** Starts a server whose instructions are not counted yet, because it is faster so. */
  static async start (processes: Processes, { valgrind, vgdb }: CallgrindPrograms, name: ServerName, { isCompressed, isEncrypted }: Scenario): Promise<CallgrindServer> {
    const directory = mkdtempSync(join(tmpdir(), 'bench-callgrind-'))
    const wrapper = [
      valgrind, '--quiet', '--tool=callgrind', '--callgrind-out-file=/dev/null', `--vgdb-prefix=${join(directory, 'vgdb')}`,
      '--smc-check=all-non-file', // code that V8 compiles replaces code that it compiled before
      '--instr-atstart=no'
    ]
    const server = await processes.fresh(name, { isCompressed, isEncrypted, nodeOptions: NODE_OPTIONS, wrapper })
    return new CallgrindServer(server, vgdb, directory)
  }

  get port (): number {
    return this.#server.port
  }

  get pid (): number {
    return this.#server.process.pid
  }

  async beginCounting (): Promise<void> {
    await this.#command('instrumentation', 'on')
  }

  /** The number of instructions since `beginCounting()`, when the server has become idle. */
  async count (): Promise<number> {
    let before = -Infinity
    let now = await this.#read()
    while (now - before > IDLE) {
      before = now
      now = await this.#read()
    }
    return now
  }

  async end (): Promise<void> {
    await this.#server.process.end()
    rmSync(this.#directory, { recursive: true })
  }

  // A line 'events-2: 81' tells how many instructions the second thread has executed
  async #read (): Promise<number> {
    const lines = (await this.#command('status', 'internal')).matchAll(/^events-\d+: (\d+)$/gm)
    return [...lines].reduce((sum, [, count]) => sum + Number(count), 0)
  }

  async #command (...words: string[]): Promise<string> {
    const { stdout } = await run(this.#vgdb, [`--pid=${this.pid}`, `--vgdb-prefix=${join(this.#directory, 'vgdb')}`, ...words])
    return stdout
  }
}

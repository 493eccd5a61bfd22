import { accessSync, constants, existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { Child, endChildren } from './child.js'
import { chooseCpus } from '../measure/cpu.js'
import type { LoadCommands } from '../load/load.js'
import type { Scenario, ServerName } from '../scenarios.js'
import type { ServerCommands } from '../servers/node.js'

export const ROOT = join(import.meta.dirname, '../..')

const cpus = chooseCpus()
const isPinned = cpus.server !== cpus.load && findProgram('taskset') !== null

/** Says for the report on which CPUs the processes run. */
export function describePinning (): string {
  if (!isPinned) return 'not pinned: taskset and two CPUs are needed'
  return `server on CPU ${cpus.server}, load on CPU ${cpus.load}`
}

export interface RunningServer {
  readonly process: Child<ServerCommands>
  readonly port: number
}

/** The path of a program in node_modules/.bin or in the PATH, or `null`. */
export function findProgram (name: string): string | null {
  const directories = [join(ROOT, 'node_modules/.bin'), ...(process.env.PATH ?? '').split(delimiter)]
  return directories.map((directory) => join(directory, name)).find(isExecutable) ?? null
}

/** The package that has to be installed for a server although `npm ci` does not install it, or `null`. */
export function missingPackage (name: ServerName): string | null {
  if (name === 'bun' || name === 'deno') return findProgram(name) === null ? name : null
  if (name === 'uws') return existsSync(join(ROOT, 'node_modules/uwebsockets')) ? null : 'uwebsockets'
  return null
}

function isExecutable (path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function commandOf (name: ServerName, options: readonly string[], nodeOptions: readonly string[]): string[] {
  const server = (file: string) => join(ROOT, 'bench/servers', file)
  if (name === 'bun') return [findProgram('bun') ?? name, server('bun.ts')]
  if (name === 'deno') return [findProgram('deno') ?? name, 'run', '--quiet', '--no-check', '--unstable-sloppy-imports', '--allow-all', server('deno.ts')]
  const node = [process.execPath, ...nodeOptions, '--import', 'tsx']
  return name === 'uws' ? [...node, server('uws.ts'), ...options] : [...node, server('node.ts'), name, ...options]
}

export interface ServerOptions {
  readonly isCompressed?: boolean
  readonly isEncrypted?: boolean
  readonly nodeOptions?: readonly string[]
  /** A program with its arguments that runs the server, and because of which its times do not count, so that any CPU will do. */
  readonly wrapper?: readonly string[]
}

/** All processes of a run: the load generator, and the servers, each of which is started when it is first needed. */
export class Processes {
  readonly load: Child<LoadCommands>
  readonly #env: NodeJS.ProcessEnv
  readonly #servers = new Map<string, RunningServer>()

  private constructor (load: Child<LoadCommands>, env: NodeJS.ProcessEnv) {
    this.load = load
    this.#env = env
  }

  /** @param env environment variables that the servers get besides ours */
  static async start (env: NodeJS.ProcessEnv): Promise<Processes> {
    const command = [process.execPath, '--import', 'tsx', join(ROOT, 'bench/load/load.ts')]
    return new Processes(await Child.start('load', pinned(cpus.load, command)), env)
  }

  /** Starts a server that is used for nothing else. The caller ends it. */
  async fresh (name: ServerName, { isCompressed = false, isEncrypted = false, nodeOptions = [], wrapper = [] }: ServerOptions = {}): Promise<RunningServer> {
    const options = [...isCompressed ? ['--compression'] : [], ...isEncrypted ? ['--tls'] : []]
    const command = commandOf(name, options, nodeOptions)
    const server = await Child.start<ServerCommands>(name, wrapper.length > 0 ? [...wrapper, ...command] : pinned(cpus.server, command), this.#env)
    return { process: server, port: await server.ask('port', undefined) }
  }

  /** The server for a scenario. Scenarios with the same options share it. */
  async server (name: ServerName, { isCompressed, isEncrypted }: Scenario): Promise<RunningServer> {
    const key = `${name} ${isCompressed} ${isEncrypted}`
    const server = this.#servers.get(key) ?? await this.fresh(name, { isCompressed, isEncrypted })
    this.#servers.set(key, server)
    return server
  }

  end (): void {
    endChildren()
  }
}

function pinned (cpu: number, command: readonly string[]): string[] {
  return isPinned ? ['taskset', '-c', String(cpu), ...command] : [...command]
}

import { promisify } from 'node:util'
import type { FastifyBaseLogger, FastifyInstance, preCloseAsyncHookHandler, preCloseHookHandler } from 'fastify'
import type { Lifecycle } from './lifecycle.js'
import { logForeign } from '../base/log.js'
import { badOption } from '../base/validation.js'

/** The option `shutdown` with its defaults filled in. Times are in ms. */
export interface ShutdownSettings {
  readonly code: number
  readonly reason: string
  readonly grace: number
  readonly timeout: number
  readonly spread: number
}

/** How long handlers have at most, in ms, to notice that their connection was terminated. It is the end of `shutdown.timeout`. */
const MAX_NOTICE = 500

/** Fastify starts each hook from within the one before: thousands of them would overflow the stack. */
const MAX_HOOKS = 1000

/** The shortest time between two batches of connections, in ms: timers are no finer than this. */
const STEP = 10

/** What `app.close()` does: in which order what is alive in the app ends, and how long each step may take. */
export class Shutdown {
  readonly #lifecycle: Lifecycle
  readonly #settings: ShutdownSettings
  readonly #log: FastifyBaseLogger
  #end: Promise<void> | undefined

  constructor (lifecycle: Lifecycle, settings: ShutdownSettings, log: FastifyBaseLogger) {
    this.#lifecycle = lifecycle
    this.#settings = settings
    this.#log = log
  }

  /** Ends everything. Resolves when all has ended, or after `shutdown.timeout`. Repeated calls get the same promise. */
  start (): Promise<void> {
    this.#end ??= this.#endAll()
    return this.#end
  }

  /**
   * Makes preClose hooks that together wait for `start()`. Fastify gives each hook `pluginTimeout` ms, and fails the process
   * after that, so a single hook could not wait longer.
   */
  preCloseHooks (pluginTimeout: number): (() => Promise<void>)[] {
    const { timeout } = this.#settings
    const share = pluginTimeout === 0 ? Infinity : pluginTimeout / 2
    const count = Math.ceil(timeout / share) + 1
    if (count > MAX_HOOKS) throw badOption('shutdown.timeout', `at most ${MAX_HOOKS / 2} times Fastify's pluginTimeout`, timeout)
    return Array.from({ length: count }, () => () => settledWithin(() => this.start(), share))
  }

  async #endAll (): Promise<void> {
    const lifecycle = this.#lifecycle
    lifecycle.beginClosing()
    for (const upgrade of lifecycle.upgrades) upgrade.refuse()
    const timers = this.#drainInBatches()
    const { timeout } = this.#settings
    const notice = Math.min(MAX_NOTICE, timeout / 10)
    const hasEnded = await lifecycle.endsWithin(timeout - notice)
    for (const timer of timers) clearTimeout(timer)
    if (hasEnded) return
    this.#terminateAll()
    await lifecycle.endsWithin(notice)
  }

  /** Drains the connections, spread evenly over `spread`, and closes each batch `grace` later. Returns the timers of this. */
  #drainInBatches (): Set<NodeJS.Timeout> {
    const { spread, grace } = this.#settings
    const timers = new Set<NodeJS.Timeout>()
    const connections = [...this.#lifecycle.connections]
    const batches = Math.max(1, Math.min(connections.length, Math.floor(spread / STEP)))
    for (let i = 0; i < batches; i++) {
      const batch = connections.slice(connections.length * i / batches, connections.length * (i + 1) / batches)
      const drain = () => {
        for (const connection of batch) connection.drain()
        timers.add(setTimeout(() => { for (const connection of batch) connection.closeForShutdown() }, grace))
      }
      if (i === 0) drain()
      else timers.add(setTimeout(drain, spread * i / batches))
    }
    return timers
  }

  #terminateAll (): void {
    const { connections, handlers, upgrades } = this.#lifecycle
    this.#log.warn({
      connections: connections.size,
      handlers: handlers.size,
      upgrades: upgrades.size,
      ...(handlers.size > 0 && { hint: 'a handler that waits for app.close() waits for itself' })
    }, 'websocket shutdown timed out')
    for (const connection of connections) connection.terminateWith('shutdown')
    for (const upgrade of upgrades) upgrade.destroy()
  }
}

/**
 * Wraps the application's `preClose` so that it never fails: after a hook that fails Fastify runs no other, so ours would leave
 * the connections open.
 */
export function withoutFailing (preClose: preCloseHookHandler | preCloseAsyncHookHandler, log: FastifyBaseLogger) {
  const run = preClose.length === 1 ? promisify(preClose) : preClose // Fastify tells a hook with a callback by its length too
  return async function (this: FastifyInstance): Promise<void> {
    try {
      await Reflect.apply(run, this, [])
    } catch (error) {
      logForeign(log, 'error', { err: error }, 'websocket preClose failed')
    }
  }
}

/** Resolves when the action has ended, or after `timeout` ms. */
function settledWithin (act: () => Promise<void>, timeout: number): Promise<void> {
  if (timeout === Infinity) return act()
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, timeout)
    act().then(() => {
      clearTimeout(timer)
      resolve()
    })
  })
}

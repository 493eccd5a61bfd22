import { promisify } from 'node:util'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { badOption } from '../base/validation.js'
import { Awaiters } from './awaiters.js'
import type { WebSocketCollection } from './collection.js'
import { logForeign } from '../base/log.js'
import type { Settings } from '../plugin/options.js'

/** An upgrade request that is neither a connection yet nor fully answered. */
interface PendingUpgrade {
  /** Answers 503 where nothing was answered yet. */
  refuse (): void
  destroy (): void
}

/** A handler that has returned a promise. */
interface HandlerRun {
  /** Settles when the handler has ended, and never rejects. */
  readonly lifetime: Promise<void>
  /** It is not waited for, because it waits for the app to close. */
  excuse (): void
}

/** How long handlers have at most, in ms, to notice that their connection was terminated: the end of `shutdown.timeout`. */
const MAX_NOTICE = 500

/** Fastify starts one hook from within the other: thousands would overflow the stack. */
const MAX_TURNS = 1000

/** The finest division of `spread`, in ms. */
const STEP = 10

/** How everything that is alive in the app ends when the app closes. */
export class Shutdown {
  readonly #upgrades = new Set<PendingUpgrade>()
  readonly #collection: WebSocketCollection
  readonly #handlers = new Set<HandlerRun>() // that have not ended
  readonly #awaiters = new Awaiters<HandlerRun>()
  readonly #settings: Settings['shutdown']
  readonly #log: FastifyBaseLogger
  #end: Promise<void> | undefined
  #onRemoval: (() => void) | undefined
  #onStart!: () => void // set when `started` is made
  /** Resolves when `start()` was called. */
  readonly started = new Promise<void>((resolve) => { this.#onStart = resolve })

  constructor (collection: WebSocketCollection, { shutdown }: Settings, log: FastifyBaseLogger) {
    this.#collection = collection
    this.#settings = shutdown
    this.#log = log
    collection.onRemoval = () => this.#onRemoval?.()
  }

  addUpgrade (upgrade: PendingUpgrade): void {
    this.#upgrades.add(upgrade)
  }

  deleteUpgrade (upgrade: PendingUpgrade): void {
    this.#upgrades.delete(upgrade)
    this.#onRemoval?.()
  }

  /** The app does not close before each handler has ended, or `shutdown.timeout` has passed. */
  handlerOnStart (run: HandlerRun): void {
    this.#handlers.add(run)
  }

  handlerOnEnd (run: HandlerRun): void {
    this.#handlers.delete(run)
    this.#onRemoval?.()
  }

  /** A handler that awaits the async function that calls this is waited for no longer. */
  excuseWhoAwaitsCaller (): void {
    for (const run of this.#handlers) this.#awaiters.add(run, run.lifetime)
    const run = this.#awaiters.ofCaller()
    if (run === undefined || !this.#handlers.has(run)) return
    run.excuse()
    this.handlerOnEnd(run)
  }

  /** Ends everything. Resolves when it has ended, or after `shutdown.timeout`. Called again, it gives the same promise. */
  start (): Promise<void> {
    this.#collection.isClosing = true
    this.#end ??= this.#endAll()
    this.#onStart()
    return this.#end
  }

  /**
   * Hooks that wait for `start()` in turn. Fastify gives each preClose hook `pluginTimeout` ms and fails the process
   * past that, so that a single one could not wait longer.
   */
  preCloseHooks (pluginTimeout: number): (() => Promise<void>)[] {
    const turn = pluginTimeout === 0 ? Infinity : pluginTimeout / 2
    const turns = Math.ceil(this.#settings.timeout / turn) + 1
    if (turns > MAX_TURNS) throw badOption('shutdown.timeout', `at most ${MAX_TURNS / 2} times Fastify's pluginTimeout`, this.#settings.timeout)
    return Array.from({ length: turns }, () => () => settledWithin(this.start(), turn))
  }

  async #endAll (): Promise<void> {
    for (const upgrade of this.#upgrades) upgrade.refuse()
    const timers = this.#drainInTurn()
    const { timeout } = this.#settings
    const notice = Math.min(MAX_NOTICE, timeout / 10)
    const isEmpty = await this.#isEmptyWithin(timeout - notice)
    for (const timer of timers) clearTimeout(timer)
    if (isEmpty) return
    this.#terminateAll()
    await this.#isEmptyWithin(notice)
  }

  // In steps, for a timer is no finer than that: what falls into one step takes its turn together
  #drainInTurn (): Set<NodeJS.Timeout> {
    const { spread, grace } = this.#settings
    const timers = new Set<NodeJS.Timeout>()
    const connections = [...this.#collection]
    const steps = Math.max(1, Math.min(connections.length, Math.floor(spread / STEP)))
    for (let step = 0; step < steps; step++) {
      const batch = connections.slice(connections.length * step / steps, connections.length * (step + 1) / steps)
      const takeTurn = () => {
        for (const connection of batch) connection.drain()
        timers.add(setTimeout(() => { for (const connection of batch) connection.closeForShutdown() }, grace))
      }
      if (step === 0) takeTurn()
      else timers.add(setTimeout(takeTurn, spread * step / steps))
    }
    return timers
  }

  #isEmptyWithin (timeout: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(settle, timeout, false)
      this.#onRemoval = () => {
        if (this.#collection.size + this.#handlers.size + this.#upgrades.size === 0) settle(true)
      }
      this.#onRemoval()

      function settle (isEmpty: boolean): void {
        clearTimeout(timer)
        resolve(isEmpty)
      }
    })
  }

  #terminateAll (): void {
    this.#log.warn({
      connections: this.#collection.size,
      handlers: this.#handlers.size,
      upgrades: this.#upgrades.size,
      ...(this.#handlers.size > 0 && { hint: 'a handler that waits for app.close() waits for itself' })
    }, 'websocket shutdown timed out')
    for (const connection of this.#collection) connection.terminateWith('shutdown')
    for (const upgrade of this.#upgrades) upgrade.destroy()
  }
}

/** The application's `preClose`. After a hook that fails Fastify runs no other, and ours would leave the connections open. */
export function withoutFailing (preClose: NonNullable<Settings['preClose']>, log: FastifyBaseLogger) {
  const act = preClose.length === 1 ? promisify(preClose) : preClose // as Fastify tells the two kinds apart
  return async function (this: FastifyInstance): Promise<void> {
    try {
      await Reflect.apply(act, this, [])
    } catch (error) {
      logForeign(log, 'error', { err: error }, 'websocket preClose failed')
    }
  }
}

function settledWithin (promise: Promise<void>, timeout: number): Promise<void> {
  if (timeout === Infinity) return promise
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, timeout)
    promise.then(() => {
      clearTimeout(timer)
      resolve()
    })
  })
}

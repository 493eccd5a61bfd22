import type { FastifyBaseLogger } from 'fastify'
import { badOption } from './arguments.js'
import type { CloseInfo } from './close.js'
import type { AsyncWebSocket, ConnectionOwner, Traffic } from './connection.js'
import { diagnostics } from './diagnostics.js'
import type { Settings } from './options.js'
import { Rounds } from './rounds.js'

/** An upgrade request that is neither a connection yet nor fully answered. */
interface PendingUpgrade {
  /** Answers 503 where nothing was answered yet. */
  refuse (): void
  destroy (): void
}

/** How long handlers have, in ms, to notice that their connection was terminated at the end of the shutdown. */
const NOTICE = 500

/** Fastify starts one hook from within the other: thousands would overflow the stack. */
const MAX_TURNS = 1000

/** The finest division of `spread`, in ms. */
const STEP = 10

/** What is alive in the app, and how it ends when the app closes. */
export class Collection implements ConnectionOwner {
  /** How many of the upgrades are being accepted. */
  opening = 0
  readonly rounds: Rounds | null
  readonly #upgrades = new Set<PendingUpgrade>()
  readonly #connections = new Set<AsyncWebSocket>()
  #handlers = 0 // that have not settled
  readonly #settings: Settings['shutdown']
  readonly #log: FastifyBaseLogger
  #shutdown: Promise<void> | undefined
  #onRemoval: (() => void) | undefined

  constructor ({ shutdown, keepAlive }: Settings, log: FastifyBaseLogger) {
    this.#settings = shutdown
    this.rounds = keepAlive && new Rounds(keepAlive.interval / 2)
    this.#log = log
  }

  get isClosing (): boolean {
    return this.#shutdown !== undefined
  }

  get size (): number {
    return this.#connections.size
  }

  add (connection: AsyncWebSocket): void {
    this.#connections.add(connection)
    if (diagnostics.open.hasSubscribers) diagnostics.open.publish({ connection })
  }

  delete (connection: AsyncWebSocket, closeInfo: CloseInfo, traffic: Traffic): void {
    this.#connections.delete(connection)
    this.#onRemoval?.()
    const { code, cause, error } = closeInfo
    const duration = Math.round(performance.now() - connection.openedAt)
    const { received, sent } = traffic
    const line = { code, cause, duration, received, sent }
    connection.request.log.info(error === undefined ? line : Object.assign(line, { err: error }), 'websocket closed')
    if (diagnostics.close.hasSubscribers) diagnostics.close.publish({ connection, closeInfo })
  }

  dropped (connection: AsyncWebSocket, direction: 'in' | 'out', reason: string, bytes: number): void {
    if (diagnostics.dropped.hasSubscribers) diagnostics.dropped.publish({ connection, direction, reason, bytes })
  }

  addUpgrade (upgrade: PendingUpgrade): void {
    this.#upgrades.add(upgrade)
  }

  deleteUpgrade (upgrade: PendingUpgrade): void {
    this.#upgrades.delete(upgrade)
    this.#onRemoval?.()
  }

  /** The app does not close before each handler has settled, or `shutdown.timeout` has passed. */
  handlerOnStart (): void {
    this.#handlers++
  }

  handlerOnEnd (): void {
    this.#handlers--
    this.#onRemoval?.()
  }

  /** Ends everything. Resolves when it has ended, or soon after `shutdown.timeout`. Called again: the same. */
  shutdown (): Promise<void> {
    this.#shutdown ??= this.#endAll()
    return this.#shutdown
  }

  /**
   * Hooks that wait for `shutdown()` in turn. Fastify gives each preClose hook `pluginTimeout` ms and fails the process
   * past that, so that a single one could not wait longer.
   */
  preCloseHooks (pluginTimeout: number): (() => Promise<void>)[] {
    const turn = pluginTimeout === 0 ? Infinity : pluginTimeout / 2
    const turns = Math.ceil((this.#settings.timeout + NOTICE) / turn) + 1
    if (turns > MAX_TURNS) throw badOption('shutdown.timeout', `at most ${MAX_TURNS / 2} times Fastify's pluginTimeout`, this.#settings.timeout)
    return Array.from({ length: turns }, () => () => settledWithin(this.shutdown(), turn))
  }

  async #endAll (): Promise<void> {
    await null // `isClosing` is true from here on, for whoever is called below
    for (const upgrade of this.#upgrades) upgrade.refuse()
    const timers = this.#drainInTurn()
    const isEmpty = await this.#isEmptyWithin(this.#settings.timeout)
    for (const timer of timers) clearTimeout(timer)
    if (isEmpty) return
    this.#terminateAll()
    await this.#isEmptyWithin(NOTICE)
  }

  // In steps, for a timer is no finer than that: what falls into one step takes its turn together
  #drainInTurn (): Set<NodeJS.Timeout> {
    const { spread, grace } = this.#settings
    const timers = new Set<NodeJS.Timeout>()
    const connections = [...this.#connections]
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
        if (this.#connections.size + this.#handlers + this.#upgrades.size === 0) settle(true)
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
      connections: this.#connections.size,
      handlers: this.#handlers,
      upgrades: this.#upgrades.size
    }, 'websocket shutdown timed out')
    for (const connection of this.#connections) connection.terminateForShutdown()
    for (const upgrade of this.#upgrades) upgrade.destroy()
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

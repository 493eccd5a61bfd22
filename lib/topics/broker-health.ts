import { EventEmitter } from 'node:events'
import type { FastifyBaseLogger, FastifyError } from 'fastify'
import { PROBE_TOPIC } from './envelope.js'
import { errors } from '../base/errors.js'
import { logForeign } from '../base/log.js'
import { LogThrottle } from './log-throttle.js'
import type { PendingAcks } from './pending-acks.js'

/** A listener for messages of an MQEmitter. It calls `done` when it is ready for the next message. */
export type PubSubListener = (message: any, done: () => void) => void

/** The methods of an MQEmitter, such as `mqemitter-redis`, that this package calls. */
export interface PubSub {
  on (topic: string, listener: PubSubListener, callback?: () => void): unknown
  removeListener (topic: string, listener: PubSubListener, callback?: () => void): unknown
  emit (message: { topic: string }, callback?: (error?: Error) => void): unknown
}

/** `'ok'` if the broker has confirmed it, else an error with the code `FST_WSA_BUS_LOST`. */
export type BusState = 'ok' | FastifyError

type State =
  | { readonly name: 'up' | 'suspected', readonly error: null }
  | { readonly name: 'lost', readonly error: FastifyError, readonly since: number, unpublished: number }
  | { readonly name: 'closed', readonly error: FastifyError }

/** Interval between probes of a lost broker, in ms. */
const PROBE_INTERVAL = 1000
/** The same for a broker that does not even refuse a probe: the emitter may still keep the probes before. */
const SILENT_PROBE_INTERVAL = 30_000

/** For this many ms the log gathers publications that failed while the broker was up. */
const LOG_INTERVAL = 1000

const UP: State = { name: 'up', error: null }

/**
 * Whether the broker can be reached. It is up until an operation fails; it is then suspected and probed, and lost if the probe
 * fails. A lost broker is probed until it answers.
 */
export class BrokerHealth {
  readonly #emitter: PubSub
  readonly #acks: PendingAcks
  readonly #log: FastifyBaseLogger
  readonly #onRecover: () => void
  readonly #failures = new LogThrottle()
  #state: State = UP
  #probeTimer: NodeJS.Timeout | undefined
  #refused = 0 // publications that failed while the broker was up, since the last log line about them
  #refusalTimer: NodeJS.Timeout | undefined

  /** @param onRecover called when a lost broker has answered */
  constructor (emitter: PubSub, acks: PendingAcks, log: FastifyBaseLogger, onRecover: () => void) {
    this.#emitter = emitter
    this.#acks = acks
    this.#log = log
    this.#onRecover = onRecover
    for (const connection of connectionsOf(emitter)) connection.on('error', this.#connectionOnError)
  }

  /** Why the broker cannot be used, or `null` while it is up or only suspected. */
  get error (): FastifyError | null {
    return this.#state.error
  }

  /** The error if the broker is lost or the bus closed, else `null`. Counts the publication that gets an error for the log. */
  errorForPublication (): FastifyError | null {
    if (this.#state.name === 'lost') this.#state.unpublished++
    return this.#state.error
  }

  /** Makes the error for a publication that failed although the broker is up, and counts it for the log. */
  refusePublication (cause: Error): FastifyError {
    const error = busLost(cause.message, cause)
    this.#refused++
    this.#refusalTimer ??= setTimeout(() => this.#logRefused(error), LOG_INTERVAL).unref()
    return error
  }

  /** Probes the broker after an operation has failed: it is lost if the probe fails too. */
  async suspect (cause: Error): Promise<void> {
    if (this.#state.name !== 'up') return
    const state = this.#state = { name: 'suspected', error: null } as const
    const error = await this.#acks.track((ack) => { this.#emitter.emit({ topic: PROBE_TOPIC }, ack) })
    if (state !== this.#state) return // it was lost or closed meanwhile, and may have been found since
    if (error === null) this.#state = UP
    else this.lose(cause)
  }

  /** The broker cannot be reached. Returns the error, or the one for which it was lost before. */
  lose (cause: Error): FastifyError {
    if (this.#state.error !== null) return this.#state.error
    const error = busLost(cause.message, cause)
    this.#state = { name: 'lost', error, since: performance.now(), unpublished: 0 }
    logForeign(this.#log, 'warn', { err: error }, 'websocket bus lost')
    this.#probeIn(PROBE_INTERVAL)
    return error
  }

  /** Stops probing. From here on nothing can be published. */
  close (): FastifyError {
    const error = busLost('the app is closing')
    this.#state = { name: 'closed', error }
    clearTimeout(this.#probeTimer)
    this.#logRefused(error)
    for (const connection of connectionsOf(this.#emitter)) {
      connection.off('error', this.#connectionOnError)
      if (!connection.listeners('error').includes(ignore)) connection.on('error', ignore) // an error without a listener would end the process
    }
    return error
  }

  readonly #connectionOnError = (error: Error): void => {
    if (this.#state.error !== null) return
    if (this.#failures.isDue()) logForeign(this.#log, 'warn', { err: error }, 'websocket bus failed')
    this.suspect(error)
  }

  #logRefused (error: FastifyError): void {
    clearTimeout(this.#refusalTimer)
    this.#refusalTimer = undefined
    if (this.#refused > 0) logForeign(this.#log, 'warn', { err: error, unpublished: this.#refused }, 'websocket publications refused')
    this.#refused = 0
  }

  #probeIn (delay: number): void {
    clearTimeout(this.#probeTimer)
    this.#probeTimer = setTimeout(() => { this.#probe() }, delay).unref()
  }

  #probe (): void {
    this.#probeIn(SILENT_PROBE_INTERVAL)
    const state = this.#state
    const onAnswer = (error?: unknown) => {
      if (state !== this.#state || state.name !== 'lost') return
      if (error instanceof Error) this.#probeIn(PROBE_INTERVAL)
      else this.#recover(state)
    }
    try {
      this.#emitter.emit({ topic: PROBE_TOPIC }, onAnswer)
    } catch (error) {
      onAnswer(error)
    }
  }

  #recover ({ since, unpublished }: State & { name: 'lost' }): void {
    clearTimeout(this.#probeTimer)
    this.#state = UP
    this.#log.info({ unpublished, duration: Math.round(performance.now() - since) }, 'websocket bus found')
    this.#onRecover()
  }
}

/** The objects on which `mqemitter-redis` and `mqemitter-mongodb` emit the errors of their connections to the broker. */
function connectionsOf (emitter: PubSub): EventEmitter[] {
  const { state, status } = emitter as { state?: unknown, status?: unknown }
  return [state, status].filter((events) => events instanceof EventEmitter)
}

function ignore (): void {}

export function busLost (reason: string, cause?: unknown): FastifyError {
  return new errors.FST_WSA_BUS_LOST(reason, { cause })
}

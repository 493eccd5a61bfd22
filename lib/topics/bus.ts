import { EventEmitter } from 'node:events'
import type { FastifyBaseLogger, FastifyError } from 'fastify'
import { guardListeners } from './emitter-guard.js'
import { Envelopes, fromWire, isEnvelope, PROBE_TOPIC, toWire, unwrap, type Envelope } from './envelope.js'
import { errors } from '../base/errors.js'
import { logForeign } from '../base/log.js'
import { NoAnswerError, Questions } from './pending-acks.js'
import { Recent } from './bounded-map.js'

type Listener = (message: any, done: () => void) => void

/** What is used of an MQEmitter, such as `mqemitter-redis`. */
export interface PubSub {
  on (topic: string, listener: Listener, callback?: () => void): unknown
  removeListener (topic: string, listener: Listener, callback?: () => void): unknown
  emit (message: { topic: string }, callback?: (error?: Error) => void): unknown
}

/** `'ok'`: the broker has confirmed it. Else `FST_WSA_BUS_LOST`. */
export type BusState = 'ok' | FastifyError

/** Publications of another node that did not arrive, noticed when a later one did. */
export interface PublicationGap {
  readonly topic: string
  readonly missed: number
}

/** Where what comes from other nodes goes. */
export interface BusOwner {
  receive (topic: string, data: string | Buffer): void
  gap (gap: PublicationGap): void
}

interface Subscription {
  readonly listener: Listener
  /** What the emitter knows of it, and what it has said: that the broker knows it too. */
  status: 'noted' | 'told' | 'confirmed'
  /** Of the last time when it was told. */
  result: Promise<BusState>
}

type State =
  | { readonly name: 'up', readonly error: null }
  | { readonly name: 'lost', readonly error: FastifyError, readonly since: number, unpublished: number }
  | { readonly name: 'closed', readonly error: FastifyError }

/** Between two looks at whether a broker that is gone is back, in ms. */
const PROBE_INTERVAL = 1000
/** The same where it did not even refuse: what it was asked may still be waiting for it. */
const SILENT_PROBE_INTERVAL = 30_000

/** For so many ms the log gathers what was refused. */
const LOG_INTERVAL = 1000

/** An error that comes so many ms after the last one is a new one, for the log. */
const QUIET = 30_000

/** What a publication that waits for the broker costs beside its data, in bytes. */
const OVERHEAD = 2048

/** Publications, and for each subscription senders and topics: what is older is forgotten. */
const REMEMBERED = 10_000

const OK = Promise.resolve('ok' as const)

const UP = { name: 'up', error: null } as const

/**
 * The way to the other nodes, an MQEmitter. What is published while the broker is away is lost and counted; nothing is kept
 * for it, nothing waits for it for long, and nothing is thrown.
 */
export class Bus {
  readonly #emitter: PubSub
  readonly #owner: BusOwner
  readonly #log: FastifyBaseLogger
  readonly #maxPendingBytes: number
  readonly #envelopes = new Envelopes()
  readonly #subscriptions = new Map<string, Subscription>()
  readonly #questions = new Questions()
  readonly #seen = new Recent<number>(REMEMBERED) // with how many before it were told to be missed
  #state: State = UP
  #isSuspected = false // while up: it is being asked whether it is there
  #pending = { bytes: 0 } // given to the emitter, and not confirmed
  #refused = 0 // publications, while up, since the log told of them
  #refusalTimer: NodeJS.Timeout | undefined
  #probeTimer: NodeJS.Timeout | undefined
  #quietUntil = 0
  #unreadableUntil = 0 // the same for what cannot be read

  constructor (emitter: PubSub, maxPendingBytes: number, owner: BusOwner, log: FastifyBaseLogger) {
    this.#emitter = emitter
    this.#maxPendingBytes = maxPendingBytes
    this.#owner = owner
    this.#log = log
    for (const events of statesOf(emitter)) events.on('error', this.#stateOnError)
    guardListeners(emitter, (error) => this.#logUnreadable(error))
  }

  /** What other nodes publish on the topic is received from now on; again, it changes nothing. Never rejects. */
  join (topic: string): Promise<BusState> {
    const subscription = this.#subscriptions.get(topic) ?? this.#newSubscription(topic)
    this.#subscriptions.set(topic, subscription)
    const { error } = this.#state
    if (error !== null) return Promise.resolve(error)
    if (subscription.status === 'noted') this.#subscribe(topic, subscription)
    return subscription.result
  }

  leave (topic: string): void {
    const subscription = this.#subscriptions.get(topic)
    if (subscription === undefined) return
    this.#subscriptions.delete(topic)
    this.#unsubscribe(topic, subscription)
  }

  /** Gives it to the other nodes. Never rejects. */
  publish (topic: string, data: string | Buffer): Promise<BusState> {
    const refusal = this.#refusal()
    if (refusal === null) return this.#emit(this.#envelopes.wrap(topic, data), Buffer.byteLength(data) + OVERHEAD)
    this.#envelopes.skip(topic)
    return Promise.resolve(refusal)
  }

  close (): void {
    const error = lost('the app is closing')
    this.#state = { name: 'closed', error }
    clearTimeout(this.#probeTimer)
    this.#logRefusals(error)
    this.#questions.end(error)
    for (const topic of [...this.#subscriptions.keys()]) this.leave(topic)
    for (const events of statesOf(this.#emitter)) {
      events.off('error', this.#stateOnError)
      if (!events.listeners('error').includes(ignore)) events.on('error', ignore) // without a listener, one ends the process
    }
  }

  readonly #stateOnError = (error: Error): void => {
    if (this.#state !== UP) return
    if (performance.now() >= this.#quietUntil) logForeign(this.#log, 'warn', { err: error }, 'websocket bus failed')
    this.#quietUntil = performance.now() + QUIET
    this.#suspect(error)
  }

  #logUnreadable (err: unknown): void {
    if (performance.now() >= this.#unreadableUntil) logForeign(this.#log, 'warn', { err }, 'websocket bus received what cannot be read')
    this.#unreadableUntil = performance.now() + QUIET
  }

  /** Why nothing can be published now, which is counted. */
  #refusal (): FastifyError | null {
    const state = this.#state
    if (state.name === 'lost') state.unpublished++
    if (state.error !== null) return state.error
    return this.#pending.bytes > this.#maxPendingBytes ? this.#refuse(new Error(`${this.#pending.bytes} bytes wait for the broker`)) : null
  }

  #refuse (cause: Error): FastifyError {
    const error = lost(cause.message, cause)
    this.#refused++
    this.#refusalTimer ??= setTimeout(() => this.#logRefusals(error), LOG_INTERVAL).unref()
    return error
  }

  #logRefusals (error: FastifyError): void {
    clearTimeout(this.#refusalTimer)
    this.#refusalTimer = undefined
    if (this.#refused > 0) logForeign(this.#log, 'warn', { err: error, unpublished: this.#refused }, 'websocket publications refused')
    this.#refused = 0
  }

  async #emit (envelope: Envelope, cost: number): Promise<BusState> {
    const pending = this.#pending
    pending.bytes += cost
    const error = await this.#questions.ask(
      (answer) => { this.#emitter.emit(envelope, answer) },
      () => { pending.bytes -= cost }
    )
    if (error === null) return 'ok'
    if (this.#state.error !== null) return this.#state.error
    if (error instanceof NoAnswerError) return this.#lose(error)
    this.#suspect(error) // perhaps it is only this publication that the broker does not want
    return this.#refuse(error)
  }

  #newSubscription (topic: string): Subscription {
    const counts = new Recent<number>(REMEMBERED)
    const subscription: Subscription = {
      status: 'noted',
      result: OK,
      listener: (message, done) => {
        try {
          // An emitter may take its time to remove a listener
          if (this.#subscriptions.get(topic) === subscription && isEnvelope(message)) this.#receive(message, counts)
        } finally {
          done() // no sooner: it may bring the next one
        }
      }
    }
    return subscription
  }

  #subscribe (topic: string, subscription: Subscription): void {
    subscription.status = 'told'
    subscription.result = this.#questions.ask(
      (answer) => { this.#emitter.on(toWire(topic), subscription.listener, () => answer()) },
      (error) => {
        if (error !== null) subscription.status = 'noted' // it was not taken
        if (error !== null || this.#state !== UP) return // it may only have given up
        subscription.status = 'confirmed'
        subscription.result = OK
      }
    ).then((error) => error === null ? 'ok' : this.#state.error ?? lost(error.message, error))
  }

  #unsubscribe (topic: string, subscription: Subscription): void {
    if (subscription.status === 'noted') return
    subscription.status = 'noted'
    try {
      this.#emitter.removeListener(toWire(topic), subscription.listener, () => {})
    } catch (error) {
      this.#suspect(error as Error)
    }
  }

  #receive (envelope: Envelope, counts: Recent<number>): void {
    const { node, sequence, count } = envelope
    if (node === this.#envelopes.node) return
    const topic = fromWire(envelope.topic)
    const sender = `${node} ${topic}`
    const last = counts.get(sender) ?? count - 1
    counts.set(sender, Math.max(last, count))
    // It may come several times: several subscriptions match, which have not begun together, or the broker repeats itself
    const publication = `${node} ${sequence}`
    const told = this.#seen.get(publication)
    const missed = Math.max(told ?? 0, count - last - 1)
    this.#seen.set(publication, missed)
    if (missed > (told ?? 0)) this.#owner.gap({ topic, missed: missed - (told ?? 0) })
    if (told === undefined) this.#owner.receive(topic, unwrap(envelope))
  }

  /** Something went wrong: is the broker there? */
  async #suspect (cause: Error): Promise<void> {
    if (this.#state !== UP || this.#isSuspected) return
    this.#isSuspected = true
    const error = await this.#questions.ask((answer) => { this.#emitter.emit({ topic: PROBE_TOPIC }, answer) })
    this.#isSuspected = false
    if (error !== null) this.#lose(cause)
  }

  #lose (cause: Error): FastifyError {
    if (this.#state.error !== null) return this.#state.error
    const error = lost(cause.message, cause)
    this.#state = { name: 'lost', error, since: performance.now(), unpublished: 0 }
    logForeign(this.#log, 'warn', { err: error }, 'websocket bus lost')
    this.#probeIn(PROBE_INTERVAL)
    return error
  }

  #probe (): void {
    this.#probeIn(SILENT_PROBE_INTERVAL)
    const state = this.#state
    const answer = (error?: unknown) => {
      if (state !== this.#state || state.name !== 'lost') return
      if (error instanceof Error) this.#probeIn(PROBE_INTERVAL)
      else this.#recover(state)
    }
    try {
      this.#emitter.emit({ topic: PROBE_TOPIC }, answer)
    } catch (error) {
      answer(error)
    }
  }

  #probeIn (delay: number): void {
    clearTimeout(this.#probeTimer)
    this.#probeTimer = setTimeout(() => { this.#probe() }, delay).unref()
  }

  #recover ({ since, unpublished }: State & { name: 'lost' }): void {
    clearTimeout(this.#probeTimer)
    this.#state = UP
    this.#pending = { bytes: 0 } // what it has not confirmed by now, it never will
    this.#log.info({ unpublished, duration: Math.round(performance.now() - since) }, 'websocket bus found')
    for (const [topic, subscription] of this.#subscriptions) {
      if (subscription.status === 'confirmed') continue
      this.#unsubscribe(topic, subscription) // an emitter may have given up on it
      this.#subscribe(topic, subscription)
    }
  }
}

/** Where emitters tell that their broker went away: `mqemitter-redis` and `mqemitter-mongodb`. */
function statesOf (emitter: PubSub): EventEmitter[] {
  const { state, status } = emitter as { state?: unknown, status?: unknown }
  return [state, status].filter((events) => events instanceof EventEmitter)
}

function ignore (): void {}

function lost (why: string, cause?: unknown): FastifyError {
  return new errors.FST_WSA_BUS_LOST(why, { cause })
}

import type { FastifyBaseLogger, FastifyError } from 'fastify'
import { BrokerHealth, busLost, type BusState, type PubSub, type PubSubListener } from './broker-health.js'
import { guardListeners } from './emitter-guard.js'
import { Envelopes, fromWire, isEnvelope, toWire, unwrap, type Envelope } from './envelope.js'
import { GapDetector, type LastCounts, type PublicationGap } from './gap-detector.js'
import { logForeign } from '../base/log.js'
import { LogThrottle } from './log-throttle.js'
import { NoAckError, PendingAcks } from './pending-acks.js'

export type { BusState, PubSub } from './broker-health.js'
export type { PublicationGap } from './gap-detector.js'

/** Gets what comes from other nodes. */
export interface BusOwner {
  receive (topic: string, data: string | Buffer): void
  gap (gap: PublicationGap): void
}

interface Subscription {
  readonly listener: PubSubListener
  /** `'requested'`: the emitter knows the listener. `'confirmed'`: the broker knows of it too. */
  status: 'idle' | 'requested' | 'confirmed'
  /** Resolves when the broker confirms the latest request. */
  result: Promise<BusState>
}

/** What a publication that waits for the broker takes beside its data, in bytes. */
const OVERHEAD = 2048

const OK = Promise.resolve('ok' as const)

/**
 * Carries publications between nodes, through an MQEmitter and its broker. A publication made while the broker is lost is
 * dropped and counted. Nothing is kept for a lost broker, no call waits for it for long, and none throws.
 */
export class Bus {
  readonly #emitter: PubSub
  readonly #owner: BusOwner
  readonly #log: FastifyBaseLogger
  readonly #maxPendingBytes: number
  readonly #envelopes = new Envelopes()
  readonly #subscriptions = new Map<string, Subscription>()
  readonly #acks = new PendingAcks()
  readonly #gaps: GapDetector
  readonly #health: BrokerHealth
  readonly #unreadable = new LogThrottle()
  #pending = { bytes: 0 } // given to the emitter, and not confirmed

  constructor (emitter: PubSub, maxPendingBytes: number, owner: BusOwner, log: FastifyBaseLogger) {
    this.#emitter = emitter
    this.#maxPendingBytes = maxPendingBytes
    this.#owner = owner
    this.#log = log
    this.#gaps = new GapDetector((gap) => owner.gap(gap))
    this.#health = new BrokerHealth(emitter, this.#acks, log, () => this.#brokerOnRecover())
    guardListeners(emitter, (error) => this.#logUnreadable(error))
  }

  /** Subscribes to what other nodes publish on the topic. Repeating it changes nothing. Never rejects. */
  join (topic: string): Promise<BusState> {
    const subscription = this.#subscriptions.get(topic) ?? this.#newSubscription(topic)
    this.#subscriptions.set(topic, subscription)
    const { error } = this.#health
    if (error !== null) return Promise.resolve(error)
    if (subscription.status === 'idle') this.#subscribe(topic, subscription)
    return subscription.result
  }

  leave (topic: string): void {
    const subscription = this.#subscriptions.get(topic)
    if (subscription === undefined) return
    this.#subscriptions.delete(topic)
    this.#unsubscribe(topic, subscription)
  }

  /** Sends the data to the other nodes. Never rejects. */
  publish (topic: string, data: string | Buffer): Promise<BusState> {
    const error = this.#errorForPublication()
    if (error === null) return this.#emit(this.#envelopes.wrap(topic, data), Buffer.byteLength(data) + OVERHEAD)
    this.#envelopes.skip(topic)
    return Promise.resolve(error)
  }

  close (): void {
    this.#acks.end(this.#health.close())
    for (const topic of [...this.#subscriptions.keys()]) this.leave(topic)
  }

  #logUnreadable (err: unknown): void {
    if (this.#unreadable.isDue()) logForeign(this.#log, 'warn', { err }, 'websocket bus received an unreadable message')
  }

  /** The error if publishing is impossible now, else `null`. */
  #errorForPublication (): FastifyError | null {
    const error = this.#health.errorForPublication()
    if (error !== null || this.#pending.bytes <= this.#maxPendingBytes) return error
    return this.#health.refusePublication(new Error(`${this.#pending.bytes} bytes wait for the broker`))
  }

  async #emit (envelope: Envelope, cost: number): Promise<BusState> {
    const pending = this.#pending
    pending.bytes += cost
    const error = await this.#acks.track(
      (ack) => { this.#emitter.emit(envelope, ack) },
      () => { pending.bytes -= cost }
    )
    if (error === null) return 'ok'
    if (this.#health.error !== null) return this.#health.error
    if (error instanceof NoAckError) return this.#health.lose(error)
    this.#health.suspect(error) // the broker may only have refused this publication
    return this.#health.refusePublication(error)
  }

  #newSubscription (topic: string): Subscription {
    const counts = this.#gaps.newCounts()
    const subscription: Subscription = {
      status: 'idle',
      result: OK,
      listener: (message, done) => {
        try {
          // An emitter may take some time to remove a listener
          if (this.#subscriptions.get(topic) === subscription && isEnvelope(message)) this.#receive(message, counts)
        } finally {
          done() // last, because the emitter may deliver the next message in it
        }
      }
    }
    return subscription
  }

  #subscribe (topic: string, subscription: Subscription): void {
    subscription.status = 'requested'
    subscription.result = this.#acks.track(
      (ack) => { this.#emitter.on(toWire(topic), subscription.listener, () => ack()) },
      (error) => {
        if (error !== null) subscription.status = 'idle' // the emitter did not take the listener
        if (error !== null || this.#health.error !== null) return // with the broker lost, the emitter may only have given up
        subscription.status = 'confirmed'
        subscription.result = OK
      }
    ).then((error) => error === null ? 'ok' : this.#health.error ?? busLost(error.message, error))
  }

  #unsubscribe (topic: string, subscription: Subscription): void {
    if (subscription.status === 'idle') return
    subscription.status = 'idle'
    try {
      this.#emitter.removeListener(toWire(topic), subscription.listener, () => {})
    } catch (error) {
      this.#health.suspect(error as Error)
    }
  }

  #receive (envelope: Envelope, counts: LastCounts): void {
    if (envelope.node === this.#envelopes.node) return
    const topic = fromWire(envelope.topic)
    if (this.#gaps.isNew(envelope, topic, counts)) this.#owner.receive(topic, unwrap(envelope))
  }

  #brokerOnRecover (): void {
    this.#pending = { bytes: 0 } // the broker will not confirm any more what it has not confirmed by now
    for (const [topic, subscription] of this.#subscriptions) {
      if (subscription.status === 'confirmed') continue
      this.#unsubscribe(topic, subscription) // the emitter may have given up on it
      this.#subscribe(topic, subscription)
    }
  }
}

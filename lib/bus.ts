import { randomUUID } from 'node:crypto'
import { EventEmitter } from 'node:events'
import type { FastifyBaseLogger, FastifyError } from 'fastify'
import { errors } from './errors.js'
import { Recent } from './recent.js'

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

/** A publication on its way between nodes: in a form that JSON keeps. */
interface Envelope {
  readonly topic: string
  readonly node: string
  /** How many this node had published before. */
  readonly sequence: number
  /** How many of them on this topic. */
  readonly count: number
  readonly text?: string
  readonly base64?: string
}

interface Subscription {
  readonly listener: Listener
  /** Publications that came, by topic and node. */
  readonly counts: Recent<number>
  state: Promise<BusState>
  /** Confirmed while the broker was there. */
  isSure: boolean
}

/** How long the broker may take, in ms. */
const TIMEOUT = 2000

/** Between two looks at whether a broker that is gone is back, in ms; the second where it did not even refuse. */
const PROBE_INTERVAL = 1000
const SILENT_PROBE_INTERVAL = 30_000

/** On which nobody listens. */
const PROBE_TOPIC = 'fastify-websocket-async/probe'

/** Of publications, and of topics: what is older is not known to be a repetition, or not to have been missed. */
const REMEMBERED = 10_000

const OK = Promise.resolve('ok' as const)

/**
 * The way to the other nodes, an MQEmitter. What is published while the broker is away is lost and counted; nothing is kept
 * for it, nothing waits for it for long, and nothing is thrown.
 */
export class Bus {
  readonly #emitter: PubSub
  readonly #owner: BusOwner
  readonly #log: FastifyBaseLogger
  readonly #maxPendingBytes: number
  readonly #node = randomUUID()
  readonly #subscriptions = new Map<string, Subscription>()
  readonly #unanswered = new Set<(error: FastifyError) => void>()
  readonly #seen = new Recent<true>(REMEMBERED)
  readonly #counts = new Recent<number>(REMEMBERED) // own publications, by topic
  #sequence = 0
  #pending = { bytes: 0 } // given to the emitter, and not confirmed
  #loss: { readonly error: FastifyError, readonly since: number, unpublished: number } | null = null
  #probeTimer: NodeJS.Timeout | undefined
  #closed: FastifyError | undefined

  constructor (emitter: PubSub, maxPendingBytes: number, owner: BusOwner, log: FastifyBaseLogger) {
    this.#emitter = emitter
    this.#maxPendingBytes = maxPendingBytes
    this.#owner = owner
    this.#log = log
    // For good, as some emit 'error' there, which without a listener ends the process
    for (const events of statesOf(emitter)) events.on('error', (error: Error) => { this.#lose(error) })
  }

  /** What other nodes publish on the topic is received from now on; again, it changes nothing. Never rejects. */
  join (topic: string): Promise<BusState> {
    let subscription = this.#subscriptions.get(topic)
    if (subscription === undefined) {
      subscription = this.#subscribe(topic)
      this.#subscriptions.set(topic, subscription)
    }
    return this.#loss === null ? subscription.state : Promise.resolve(this.#loss.error)
  }

  leave (topic: string): void {
    const subscription = this.#subscriptions.get(topic)
    if (subscription === undefined) return
    this.#subscriptions.delete(topic)
    this.#unsubscribe(topic, subscription)
  }

  /** Gives it to the other nodes. Never rejects. */
  publish (topic: string, data: string | Buffer): Promise<BusState> {
    const count = (this.#counts.get(topic) ?? 0) + 1
    this.#counts.set(topic, count)
    const sequence = this.#sequence++
    const error = this.#closed ?? this.#loss?.error
    if (error !== undefined) {
      if (this.#loss !== null) this.#loss.unpublished++
      return Promise.resolve(error)
    }
    if (this.#pending.bytes > this.#maxPendingBytes) return Promise.resolve(lost(`${this.#pending.bytes} bytes wait for the broker`))
    const payload = typeof data === 'string' ? { text: data } : { base64: data.toString('base64') }
    return this.#emit({ topic: toWire(topic), node: this.#node, sequence, count, ...payload }, Buffer.byteLength(data))
  }

  close (): void {
    this.#closed = lost('the app is closed')
    clearTimeout(this.#probeTimer)
    for (const topic of [...this.#subscriptions.keys()]) this.leave(topic)
    for (const end of [...this.#unanswered]) end(this.#closed)
  }

  #emit (envelope: Envelope, bytes: number): Promise<BusState> {
    const pending = this.#pending
    pending.bytes += bytes
    return this.#ask((answer) => {
      this.#emitter.emit(envelope, (error) => {
        pending.bytes -= bytes
        answer(error)
      })
    })
  }

  #subscribe (topic: string): Subscription {
    const counts = new Recent<number>(REMEMBERED)
    const listener: Listener = (message, done) => {
      done()
      // An emitter may take its time to remove a listener
      if (this.#subscriptions.get(topic) === subscription && isEnvelope(message)) this.#receive(message, counts)
    }
    const subscription: Subscription = { listener, counts, state: OK, isSure: false }
    subscription.state = this.#ask((answer) => {
      this.#emitter.on(toWire(topic), listener, () => {
        subscription.isSure = this.#loss === null
        subscription.state = OK
        answer()
      })
    })
    return subscription
  }

  #unsubscribe (topic: string, { listener }: Subscription): void {
    try {
      this.#emitter.removeListener(toWire(topic), listener, () => {})
    } catch (error) {
      this.#lose(error as Error)
    }
  }

  #receive (envelope: Envelope, counts: Recent<number>): void {
    const { node, sequence, count, text, base64 } = envelope
    if (node === this.#node) return
    const topic = fromWire(envelope.topic)
    const key = `${node} ${topic}`
    const last = counts.get(key)
    counts.set(key, count)
    const id = `${node} ${sequence}`
    if (this.#seen.get(id)) return // several subscriptions match, or the broker repeats itself
    this.#seen.set(id, true)
    if (last !== undefined && count > last + 1) this.#owner.gap({ topic, missed: count - last - 1 })
    this.#owner.receive(topic, text ?? Buffer.from(base64 ?? '', 'base64'))
  }

  /** Resolves to the answer, or to an error where there is none in time. */
  #ask (question: (answer: (error?: Error | null) => void) => void): Promise<BusState> {
    return new Promise((resolve) => {
      const settle = (state: BusState) => {
        clearTimeout(timer)
        this.#unanswered.delete(settle)
        resolve(state)
      }
      const fail = (error: unknown) => {
        if (this.#unanswered.has(settle)) settle(this.#lose(error))
      }
      const timer = setTimeout(() => { fail(new Error(`it has not answered within ${TIMEOUT} ms`)) }, TIMEOUT)
      this.#unanswered.add(settle)
      try {
        question((error) => { if (error instanceof Error) fail(error); else settle('ok') })
      } catch (error) {
        fail(error)
      }
    })
  }

  #lose (cause: unknown): FastifyError {
    if (this.#loss !== null) return this.#loss.error
    const error = lost(cause instanceof Error ? cause.message : String(cause), cause)
    if (this.#closed !== undefined) return error
    this.#loss = { error, since: performance.now(), unpublished: 0 }
    this.#log.warn({ err: error }, 'websocket bus lost')
    this.#probe()
    return error
  }

  #probe (): void {
    this.#probeIn(SILENT_PROBE_INTERVAL)
    const loss = this.#loss
    const answer = (error?: unknown) => {
      if (loss !== this.#loss || this.#closed !== undefined) return
      if (error instanceof Error) this.#probeIn(PROBE_INTERVAL)
      else this.#find()
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

  #find (): void {
    clearTimeout(this.#probeTimer)
    const { since, unpublished } = this.#loss!
    this.#loss = null
    this.#pending = { bytes: 0 } // what it has not confirmed by now, it never will
    this.#log.info({ unpublished, duration: Math.round(performance.now() - since) }, 'websocket bus found')
    // An emitter may have given up on what was subscribed meanwhile
    for (const [topic, subscription] of this.#subscriptions) {
      if (subscription.isSure) continue
      this.#unsubscribe(topic, subscription)
      this.#subscriptions.set(topic, this.#subscribe(topic))
    }
  }
}

/** Where emitters tell that their broker went away: `mqemitter-redis` and `mqemitter-mongodb`. */
function statesOf (emitter: PubSub): EventEmitter[] {
  const { state, status } = emitter as { state?: unknown, status?: unknown }
  return [state, status].filter((events) => events instanceof EventEmitter)
}

// To Redis these are more than characters, so that a subscription would mean other topics
function toWire (topic: string): string {
  return topic.replace(/[%*?[\]\\^]/g, (character) => `%${character.charCodeAt(0).toString(16)}`)
}

function fromWire (topic: string): string {
  return topic.replace(/%([0-9a-f]{2})/g, (_, code: string) => String.fromCharCode(parseInt(code, 16)))
}

function lost (why: string, cause?: unknown): FastifyError {
  return new errors.FST_WSA_BUS_LOST(why, { cause })
}

// Somebody else may use the broker too
function isEnvelope (message: Partial<Envelope>): message is Envelope {
  const { topic, node, sequence, count, text, base64 } = message
  return typeof topic === 'string' && typeof node === 'string' && typeof sequence === 'number' && typeof count === 'number' &&
    typeof (text ?? base64) === 'string'
}

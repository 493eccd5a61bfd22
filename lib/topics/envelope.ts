import { randomUUID } from 'node:crypto'
import { BoundedMap } from './bounded-map.js'

/** A publication as it travels between nodes. Every value survives JSON. */
export interface Envelope {
  /** The topic as the emitter gets it: see `toWire()`. */
  readonly topic: string
  /** The id of the node that publishes. */
  readonly node: string
  /** How many publications the node had made before this one. */
  readonly sequence: number
  /** How many publications the node has made on this topic, including this one. */
  readonly count: number
  readonly text?: string
  readonly base64?: string
}

/** Precedes every topic: other programs may use the same broker, and some brokers reserve names. */
const PREFIX = 'fastify-websocket-async/'

/** The topic for probes. It is never published on, because a topic is not empty. */
export const PROBE_TOPIC = PREFIX

/** How many topics have their publications counted. */
const MAX_TOPICS = 10_000

/** Wraps the publications of this node, and numbers them. */
export class Envelopes {
  readonly node = randomUUID()
  readonly #counts = new BoundedMap<number>(MAX_TOPICS) // by topic
  #sequence = 0

  /** Uses up the numbers of a publication that cannot be sent, so that other nodes notice the gap. */
  skip (topic: string): void {
    this.#number(topic)
  }

  wrap (topic: string, data: string | Buffer): Envelope {
    const payload = typeof data === 'string' ? { text: data } : { base64: data.toString('base64') }
    return { topic: toWire(topic), node: this.node, ...this.#number(topic), ...payload }
  }

  #number (topic: string): Pick<Envelope, 'sequence' | 'count'> {
    const count = (this.#counts.get(topic) ?? 0) + 1
    this.#counts.set(topic, count)
    return { sequence: this.#sequence++, count }
  }
}

export function unwrap ({ text, base64 }: Envelope): string | Buffer {
  return text ?? Buffer.from(base64 ?? '', 'base64')
}

/** Checks what came from the broker: anyone with write access to it may send anything. */
export function isEnvelope (message: Partial<Envelope>): message is Envelope {
  const { topic, node, sequence, count, text, base64 } = message
  return typeof topic === 'string' && topic.startsWith(PREFIX) && topic !== PREFIX && typeof node === 'string' &&
    isCount(sequence) && isCount(count) && typeof (text ?? base64) === 'string'
}

function isCount (value: unknown): boolean {
  return Number.isSafeInteger(value) && value as number >= 0
}

/** Adds the prefix, and escapes the characters of Redis's glob patterns, which would make a subscription match other topics. */
export function toWire (topic: string): string {
  return PREFIX + topic.replace(/[%*?[\]\\^]/g, (character) => `%${character.charCodeAt(0).toString(16)}`)
}

export function fromWire (topic: string): string {
  return topic.slice(PREFIX.length).replace(/%([0-9a-f]{2})/g, (_, code: string) => String.fromCharCode(parseInt(code, 16)))
}

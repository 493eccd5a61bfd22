import { randomUUID } from 'node:crypto'
import { Recent } from './bounded-map.js'

/** A publication on its way between nodes: in a form that JSON keeps. */
export interface Envelope {
  /** As an emitter takes it. */
  readonly topic: string
  readonly node: string
  /** How many this node had published before. */
  readonly sequence: number
  /** How many it has on this topic, this one included. */
  readonly count: number
  readonly text?: string
  readonly base64?: string
}

/** In front of every topic: others may use the broker too, and some brokers have names of their own. */
const PREFIX = 'fastify-websocket-async/'

/** On which nothing is published: no topic is empty. */
export const PROBE_TOPIC = PREFIX

/** Topics of which it is known how many publications there were. */
const REMEMBERED = 10_000

/** Puts publications into envelopes. */
export class Envelopes {
  readonly node = randomUUID()
  readonly #counts = new Recent<number>(REMEMBERED) // by topic
  #sequence = 0

  /** A publication that does not leave: it is missed by those who get a later one. */
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

/** Whether it is what it should be: whoever can write to the broker may send anything. */
export function isEnvelope (message: Partial<Envelope>): message is Envelope {
  const { topic, node, sequence, count, text, base64 } = message
  return typeof topic === 'string' && topic.startsWith(PREFIX) && topic !== PREFIX && typeof node === 'string' &&
    isCount(sequence) && isCount(count) && typeof (text ?? base64) === 'string'
}

function isCount (value: unknown): boolean {
  return Number.isSafeInteger(value) && value as number >= 0
}

// To Redis these are more than characters, so that a subscription would mean other topics
export function toWire (topic: string): string {
  return PREFIX + topic.replace(/[%*?[\]\\^]/g, (character) => `%${character.charCodeAt(0).toString(16)}`)
}

export function fromWire (topic: string): string {
  return topic.slice(PREFIX.length).replace(/%([0-9a-f]{2})/g, (_, code: string) => String.fromCharCode(parseInt(code, 16)))
}

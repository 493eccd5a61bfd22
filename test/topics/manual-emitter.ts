import { EventEmitter } from 'node:events'
import type { PubSub } from '../../lib/topics/broker-health.js'
import { fromWire, toWire } from '../../lib/topics/envelope.js'

type Call = { name: 'on' | 'removeListener' | 'emit', topic: string, message?: { topic: string }, answer: (error?: Error) => void }

/** An MQEmitter that does nothing by itself: it keeps its calls, and the test answers them. */
export class ManualEmitter implements PubSub {
  readonly state = new EventEmitter()
  readonly calls: Call[] = []
  readonly listeners: { topic: string, listener: Parameters<PubSub['on']>[1] }[] = []

  on (topic: string, listener: Parameters<PubSub['on']>[1], answer: () => void): void {
    this.listeners.push({ topic, listener })
    this.calls.push({ name: 'on', topic, answer })
  }

  removeListener (topic: string, listener: unknown, answer: () => void): void {
    this.listeners.splice(this.listeners.findIndex((each) => each.listener === listener), 1)
    this.calls.push({ name: 'removeListener', topic, answer })
  }

  emit (message: { topic: string }, answer: (error?: Error) => void): void {
    this.calls.push({ name: 'emit', topic: message.topic, message, answer })
  }

  /** Removes the oldest call, which must have this name. */
  next (name: Call['name']): Call {
    const call = this.calls.shift()
    if (call?.name !== name) throw new Error(`expected a call of ${name}, found ${call?.name}`)
    return call
  }

  /** Delivers a message of the broker to the listeners for the topic and for `#`. */
  arrive (topic: string, message: object): void {
    for (const each of this.listeners) {
      if (each.topic === toWire(topic) || each.topic === toWire('#')) each.listener({ topic: toWire(topic), ...message }, () => {})
    }
  }

  /** Removes all calls, and describes each. */
  takeAll (): string[] {
    return this.calls.splice(0).map(({ name, topic }) => `${name} ${fromWire(topic)}`)
  }
}

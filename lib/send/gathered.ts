import type { Buffer } from 'node:buffer'
import { writeFrame } from './frame.js'

/** In place of the size of a payload: the message has its header already. If it is a string, it consists of joined frames (`textFrame`). */
export const FRAMED = -1

/** Messages that are gathered for one write. */
export class Gathered {
  readonly #messages: (string | Buffer)[] = []
  readonly #payloadSizes: number[] = []

  /** @param payloadSize in bytes, or `FRAMED` */
  add (data: string | Buffer, payloadSize: number): void {
    this.#messages.push(data)
    this.#payloadSizes.push(payloadSize)
  }

  /** Writes everything as frames, and keeps nothing. */
  takeInto (memory: Buffer): void {
    const messages = this.#messages
    let offset = 0
    for (let i = 0; i < messages.length; i++) {
      const [message, payloadSize] = [messages[i] as string | Buffer, this.#payloadSizes[i] as number] // both arrays have the same length
      if (payloadSize !== FRAMED) offset = writeFrame(memory, offset, message, payloadSize)
      else offset += typeof message === 'string' ? memory.write(message, offset, 'latin1') : message.copy(memory, offset)
    }
    this.#clear()
  }

  /** Takes the only message, if it is a frame in memory of its own. */
  takeOnlyFrame (): Buffer | undefined {
    const [frame] = this.#messages
    if (this.#messages.length !== 1 || this.#payloadSizes[0] !== FRAMED || typeof frame !== 'object') return undefined
    this.#clear()
    return frame
  }

  #clear (): void {
    this.#messages.fill('') // an array that V8 counts as old would keep the messages until a full garbage collection
    this.#messages.length = this.#payloadSizes.length = 0
  }
}

import { Buffer } from 'node:buffer'
import { headerSize, writeFrame } from './frame.js'

/** The memory with which a batch begins, in bytes. It doubles when it is full. */
const MIN_MEMORY = 512

/** The limits of a batch, in bytes and in messages. Only a single message may be larger. */
export const MAX_SIZE = 64 * 1024
const MAX_MESSAGES = 1024

/** What a batch takes beside its frames, in bytes: objects, a promise, and a timeout or a signal. */
const BATCH_COST = 1024

/** The outcome of one or more calls, and a promise of it where a caller asks for one. */
export class Outcome {
  /** Called once, before the promise resolves. */
  onFinish: (() => void) | undefined
  #promise: Promise<boolean> | undefined
  #resolve: ((isSent: boolean) => void) | undefined

  get promise (): Promise<boolean> {
    this.#promise ??= new Promise((resolve) => { this.#resolve = resolve })
    return this.#promise
  }

  finish (isSent: boolean): void {
    this.onFinish?.()
    this.#resolve?.(isSent)
  }
}

/**
 * Messages that wait for their turn together, and whose calls end together. They are kept as frames, one after another, in memory of
 * their own, so a message takes the bytes of its frame, even if its data was a view of something large.
 */
export class Batch extends Outcome {
  readonly compress: boolean
  /** How many messages it has. */
  count = 0
  /** Bytes of the payloads. */
  payloadSize = 0
  #memory: Buffer | undefined
  #size = 0

  constructor (compress: boolean) {
    super()
    this.compress = compress
  }

  /** Bytes of the frames. */
  get size (): number {
    return this.#size
  }

  /** Bytes of memory that the batch takes. */
  get cost (): number {
    return BATCH_COST + (this.#memory?.length ?? 0)
  }

  /** @param maxSize of the frames, in bytes */
  hasRoomFor (size: number, compress: boolean, maxSize: number): boolean {
    return compress === this.compress && this.count < MAX_MESSAGES && this.#size + headerSize(size) + size < maxSize
  }

  /** Adds a message of `size` bytes. */
  add (data: string | Buffer, size: number): void {
    const memory = this.#reserve(headerSize(size) + size)
    this.#size = writeFrame(memory, this.#size, data, size)
    this.#countMessage(size)
  }

  /** Adds a message of `size` bytes that is framed already. */
  addFrame (frame: Buffer, size: number): void {
    this.#size += frame.copy(this.#reserve(frame.length), this.#size)
    this.#countMessage(size)
  }

  /** Makes a frame that goes to other connections too the only one of this batch. It is not copied. */
  shareFrame (frame: Buffer, size: number): void {
    this.#memory = frame
    this.#size = frame.length
    this.#countMessage(size)
  }

  /** Gives the frames away. The batch does not keep them: if it has grown old, it would keep them until the next full garbage collection. */
  take (): Buffer {
    const frames = this.#memory as Buffer // there is none only once they were taken
    this.#memory = undefined
    return frames.subarray(0, this.#size)
  }

  #countMessage (size: number): void {
    this.count++
    this.payloadSize += size
  }

  // Not from Buffer's pool, where a few bytes can keep 8 KiB in memory
  #reserve (more: number): Buffer {
    const memory = this.#memory
    const size = this.#size + more
    if (memory !== undefined && size <= memory.length) return memory
    this.#memory = Buffer.allocUnsafeSlow(Math.max(size, memory === undefined ? MIN_MEMORY : Math.min(2 * memory.length, MAX_SIZE)))
    memory?.copy(this.#memory, 0, 0, this.#size)
    return this.#memory
  }
}

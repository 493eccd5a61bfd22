import { headerSize, writeFrame } from './frame.js'

/** Memory of a batch at first, in bytes. It doubles when it is full. */
const MIN_MEMORY = 512

/** A batch is below both limits, in bytes and in messages, unless one message is larger. */
export const MAX_SIZE = 64 * 1024
const MAX_MESSAGES = 1024

/** What a batch takes beside its frames, in bytes: objects, a promise, and a timeout or a signal. */
const BATCH_COST = 1024

/** How calls end, and a promise of it for those who ask. */
export class Outcome {
  /** Called first when it is settled. */
  onSettle: (() => void) | undefined
  #promise: Promise<boolean> | undefined
  #resolve: ((isSent: boolean) => void) | undefined

  get promise (): Promise<boolean> {
    this.#promise ??= new Promise((resolve) => { this.#resolve = resolve })
    return this.#promise
  }

  settle (isSent: boolean): void {
    this.onSettle?.()
    this.#resolve?.(isSent)
  }
}

/**
 * Messages that wait for their turn together, and whose calls end together. They are frames one after another in memory of
 * their own: a message takes the bytes of its frame, whatever its data was a part of.
 */
export class Batch extends Outcome {
  readonly compress: boolean
  /** How many messages. */
  count = 0
  /** Bytes of their payloads. */
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

  /** Bytes of memory. */
  get cost (): number {
    return BATCH_COST + (this.#memory?.length ?? 0)
  }

  /** @param maxSize of its frames */
  hasRoomFor (size: number, compress: boolean, maxSize: number): boolean {
    return compress === this.compress && this.count < MAX_MESSAGES && this.#size + headerSize(size) + size < maxSize
  }

  /** Adds a message of `size` bytes. */
  add (data: string | Buffer, size: number): void {
    const memory = this.#reserve(headerSize(size) + size)
    this.#size = writeFrame(memory, this.#size, data, size)
    this.#countMessage(size)
  }

  /** Adds a message of `size` bytes that is a frame already. */
  addFrame (frame: Buffer, size: number): void {
    this.#size += frame.copy(this.#reserve(frame.length), this.#size)
    this.#countMessage(size)
  }

  /** The same, alone and not copied, for a frame that goes to others too. */
  shareFrame (frame: Buffer, size: number): void {
    this.#memory = frame
    this.#size = frame.length
    this.#countMessage(size)
  }

  /** The frames, which are not kept: an object that has grown old would do so until the next full collection. */
  take (): Buffer {
    const frames = this.#memory as Buffer // there is none only once they were taken
    this.#memory = undefined
    return frames.subarray(0, this.#size)
  }

  #countMessage (size: number): void {
    this.count++
    this.payloadSize += size
  }

  // Not of the pool of Buffer, of which a few bytes can keep 8 KiB
  #reserve (more: number): Buffer {
    const memory = this.#memory
    const size = this.#size + more
    if (memory !== undefined && size <= memory.length) return memory
    this.#memory = Buffer.allocUnsafeSlow(Math.max(size, memory === undefined ? MIN_MEMORY : Math.min(2 * memory.length, MAX_SIZE)))
    memory?.copy(this.#memory, 0, 0, this.#size)
    return this.#memory
  }
}

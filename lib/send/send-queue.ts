import { Batch, MAX_SIZE } from './batch.js'
import { MAX_POOLED } from './frame.js'

/** Messages that wait to be sent, in batches, and how much they are. */
export class SendQueue implements Iterable<Batch> {
  /** How many messages wait. */
  count = 0
  /** Bytes of the payloads. */
  bytes = 0
  /** Bytes of memory that they take. */
  cost = 0
  readonly #maxSize: number
  readonly #messageCost: number
  readonly #batches = new Set<Batch>()
  #last: Batch | undefined // the last batch, while it takes more messages

  /**
   * @param maxSize of a batch, in bytes
   * @param messageCost what each message counts beside the memory of its batch, in bytes
   */
  constructor (maxSize: number, messageCost: number) {
    this.#maxSize = Math.min(maxSize, MAX_SIZE)
    this.#messageCost = messageCost
  }

  [Symbol.iterator] (): Iterator<Batch> {
    return this.#batches.values()
  }

  /**
   * Adds a message of `size` bytes.
   * @param isAlone whether its batch takes no other message, so that this one can be deleted
   */
  add (data: string | Buffer, size: number, compress: boolean, isAlone: boolean): Batch {
    const batch = this.#batchFor(size, compress, isAlone)
    const before = batch.cost
    batch.add(data, size)
    this.#count(size, batch.cost - before)
    return batch
  }

  /** Adds a message of `size` bytes that is framed already and goes to other connections too. */
  addFrame (frame: Buffer, size: number): void {
    const isShared = frame.length > MAX_POOLED
    const batch = this.#batchFor(size, true, isShared)
    const before = batch.cost
    if (isShared) batch.shareFrame(frame, size)
    else batch.addFrame(frame, size)
    this.#count(size, batch.cost - before)
  }

  /** Returns `false` if the batch is not in the queue. */
  delete (batch: Batch): boolean {
    if (!this.#batches.delete(batch)) return false
    if (batch === this.#last) this.#last = undefined
    this.count -= batch.count
    this.bytes -= batch.payloadSize
    this.cost -= batch.cost + batch.count * this.#messageCost
    return true
  }

  #batchFor (size: number, compress: boolean, isAlone: boolean): Batch {
    if (!isAlone && this.#last?.hasRoomFor(size, compress, this.#maxSize) === true) return this.#last
    const batch = new Batch(compress)
    this.#batches.add(batch)
    this.#last = isAlone ? undefined : batch
    this.cost += batch.cost
    return batch
  }

  #count (size: number, cost: number): void {
    this.count++
    this.bytes += size
    this.cost += cost + this.#messageCost
  }
}

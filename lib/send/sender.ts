import { Buffer } from 'node:buffer'
import { AbortableCalls } from '../base/abortable-calls.js'
import { CANCEL_OPTIONS, type CancelOptions, type Names } from '../base/validation.js'
import { Batch, Outcome } from './batch.js'
import type { Publication } from './frame.js'
import { SendQueue } from './send-queue.js'

export interface SendOptions extends CancelOptions {
  /** Whether to compress this message, where compression was negotiated. @default true */
  readonly compress?: boolean | undefined
}

export const SEND_OPTIONS: Names<SendOptions> = { ...CANCEL_OPTIONS, compress: true }

/** What the sender needs of its connection. */
export interface SendTransport {
  /** Whether the socket is open, so that a message can still be sent. */
  readonly isOpen: boolean
  /** Bytes that were handed over and wait for the network. */
  readonly bufferedAmount: number
  /** Bytes of memory that these take. */
  readonly cost: number
  /** Bytes of memory that a message of a batch takes beside its frame, once the batch was handed over. */
  readonly messageCost: number
  /** Takes a message of `size` bytes if the socket is open and everything that waits stays below `room`. */
  offer (data: string | Buffer, size: number, compress: boolean, room: number): boolean
  /** Takes a message of `size` bytes. */
  send (data: string | Buffer, size: number, compress: boolean, onFlushed?: () => void): void
  /** Takes messages that have waited for their turn. */
  sendBatch (batch: Batch, onFlushed?: () => void): void
  /** Takes a message that goes to other connections too. */
  publish (publication: Publication): void
  /** Writes what it has gathered. */
  flush (): void
}

/** Bounds of what is unsent, in bytes of memory. */
export interface SendLimits {
  /** With this much unsent a call waits. */
  readonly highWaterMark: number
  /** With this much unsent a call is refused. */
  readonly maxBufferedBytes: number
}

const SENT = Promise.resolve(true)
/** The result of a call whose message was not handed over. */
export const NOT_SENT = Promise.resolve(false)

/**
 * Hands messages to the transport in the order of the calls, each as soon as there is room, and lets the caller wait for room. A
 * message that waits for its turn was not handed over yet, so its call can still be cancelled.
 */
export class Sender {
  readonly #transport: SendTransport
  readonly #limits: SendLimits
  readonly #room: number // below this much unsent a message is handed over, and its caller need not wait
  // 'full': a message reached the high-water mark and is not flushed yet
  #state: 'ready' | 'full' | 'ended' = 'ready'
  #queue: SendQueue | undefined // made for the first message that waits
  #filler: Outcome | undefined // of the call whose message reached the mark
  /** Messages that were accepted and never handed over. It is known after `end()`. */
  lost = 0

  constructor (transport: SendTransport, limits: SendLimits) {
    this.#transport = transport
    this.#limits = limits
    this.#room = Math.min(limits.highWaterMark, limits.maxBufferedBytes)
  }

  /** Bytes that wait for their turn or for the network. */
  get bufferedBytes (): number {
    return (this.#queue?.bytes ?? 0) + this.#transport.bufferedAmount
  }

  /** `null`: it was not taken, because too much is unsent already. Where nothing else waits, one message is never too much. */
  send (data: string | Buffer, options?: SendOptions): Promise<boolean> | null {
    const size = typeof data === 'string' ? Buffer.byteLength(data) : data.length
    if (options === undefined && this.#state === 'ready' && this.#transport.offer(data, size, true, this.#room)) return SENT
    return this.#sendWith(data, size, options ?? {})
  }

  #sendWith (data: string | Buffer, size: number, { compress = true, timeout = Infinity, signal }: SendOptions): Promise<boolean> | null {
    if (this.#state === 'ended' || signal?.aborted === true) return NOT_SENT
    if (this.#state === 'ready' && this.#transport.offer(data, size, compress, this.#room)) return SENT
    if (!this.#transport.isOpen) return NOT_SENT
    const cost = this.#cost
    if (this.#isTooMuch(cost, size)) return null
    if (this.#state === 'ready' && cost + size < this.#limits.highWaterMark) {
      this.#transport.send(data, size, compress) // nothing else waits, so it may be larger than maxBufferedBytes
      return SENT
    }
    if (this.#state === 'full' && timeout === 0) return NOT_SENT
    const isLimited = timeout !== Infinity || signal !== undefined
    const outcome = this.#state === 'full' ? this.#queued.add(data, size, compress, isLimited) : this.#fill(data, size, compress)
    if (isLimited) this.#limit(outcome, timeout, signal)
    return outcome.promise
  }

  /** Sends a message that goes to other connections too, and whose outcome nobody awaits. `false`: it was not taken, as with `send`. */
  publish (publication: Publication): boolean {
    const { data, size } = publication
    const cost = this.#cost
    if (this.#isTooMuch(cost, size)) return false
    if (this.#state === 'full') this.#queued.addFrame(publication.frame, size)
    else if (cost + size < this.#limits.highWaterMark) this.#transport.publish(publication)
    else this.#fill(data, size, true)
    return true
  }

  /** Writes what the transport has gathered. */
  flush (): void {
    this.#transport.flush()
  }

  /** Hands everything over at once: what waits for its turn, and what the transport has gathered. */
  handOver (): void {
    this.#finishFiller(true)
    for (const batch of this.#queue ?? []) {
      this.#giveToTransport(batch)
      this.#filler = undefined
      batch.finish(true)
    }
    this.#transport.flush()
  }

  /** From here on nothing is taken. @param sendsWaiting messages that wait for their turn are handed over first, instead of being lost */
  end (sendsWaiting: boolean): void {
    try {
      if (sendsWaiting) this.handOver()
    } finally {
      this.#state = 'ended'
      if (this.#queue !== undefined || this.#filler !== undefined) this.#giveUp()
    }
  }

  #giveUp (): void {
    this.lost += this.#queue?.count ?? 0
    for (const batch of this.#queue ?? []) {
      this.#queue?.delete(batch)
      batch.finish(false)
    }
    this.#finishFiller(false)
  }

  /** Bytes of memory that everything unsent takes. */
  get #cost (): number {
    return (this.#queue?.cost ?? 0) + this.#transport.cost
  }

  get #queued (): SendQueue {
    this.#queue ??= new SendQueue(this.#limits.highWaterMark, this.#transport.messageCost)
    return this.#queue
  }

  #isTooMuch (cost: number, size: number): boolean {
    return cost > 0 && cost + size > this.#limits.maxBufferedBytes
  }

  #fill (data: string | Buffer, size: number, compress: boolean): Outcome {
    this.#state = 'full'
    const filler = this.#filler = new Outcome()
    this.#transport.send(data, size, compress, () => this.#transportOnFlush())
    return filler
  }

  #giveToTransport (batch: Batch): void {
    this.#queue?.delete(batch)
    if (this.#transport.cost + batch.size < this.#limits.highWaterMark) {
      this.#transport.sendBatch(batch)
    } else {
      this.#state = 'full'
      this.#filler = batch
      this.#transport.sendBatch(batch, () => this.#transportOnFlush())
    }
  }

  #transportOnFlush (): void {
    if (this.#state === 'ended') return
    this.#state = 'ready'
    this.#finishFiller(true)
    for (const batch of this.#queue ?? []) {
      this.#giveToTransport(batch)
      if (this.#isFull) break
      batch.finish(true)
    }
  }

  get #isFull (): boolean {
    return this.#state === 'full'
  }

  #finishFiller (isSent: boolean): void {
    const filler = this.#filler
    this.#filler = undefined
    filler?.finish(isSent)
  }

  // A call that is cancelled after its message was handed over only stops waiting for room: the message is sent
  #limit (outcome: Outcome, timeout: number, signal: AbortSignal | undefined): void {
    const cancel = () => {
      const isWaiting = outcome instanceof Batch && this.#queue?.delete(outcome) === true
      outcome.finish(!isWaiting)
    }
    const timer = timeout === Infinity ? undefined : setTimeout(cancel, timeout)
    const calls = signal && AbortableCalls.of(signal)
    calls?.add(cancel)
    outcome.onFinish = () => {
      clearTimeout(timer)
      calls?.delete(cancel)
    }
  }
}

import { types } from 'node:util'
import { AbortableCalls } from '../base/abortable-calls.js'
import { CANCEL_OPTIONS, invalidArgument, type CancelOptions, type Names } from '../base/validation.js'
import { Batch, Outcome } from './batch.js'
import type { Publication } from './frame.js'
import { SendQueue } from './send-queue.js'

/** What `sendAsync` takes: a string becomes a text message, bytes become a binary message. */
export type Sendable = string | ArrayBuffer | ArrayBufferView

export interface SendOptions extends CancelOptions {
  /** Whether to compress this message, where compression was negotiated. @default true */
  readonly compress?: boolean | undefined
}

export const SEND_OPTIONS: Names<SendOptions> = { ...CANCEL_OPTIONS, compress: true }

/** What the sender needs of its connection. */
export interface SendTransport {
  /** Bytes that were handed over and wait for the network. */
  readonly bufferedAmount: number
  /** Bytes of memory that they take. */
  readonly cost: number
  /** Bytes of memory that a message of a batch takes, beside its frame, once the batch was handed over. */
  readonly messageCost: number
  /** Takes a message of `size` bytes. */
  send (data: string | Buffer, size: number, compress: boolean, onFlushed?: () => void): void
  /** Takes messages that have waited. */
  sendBatch (batch: Batch, onFlushed?: () => void): void
  /** Takes a message that goes to others too. */
  publish (publication: Publication): void
  /** Writes what it may have kept to write it together with what follows. */
  flush (): void
  /** A message came, and with it others or not: the answers go out together, or the first one at once. */
  expectAnswers (isMany: boolean): void
}

/** In bytes of memory. */
export interface SendLimits {
  /** With so much unsent a call waits. */
  readonly highWaterMark: number
  /** With so much unsent a call is refused. */
  readonly maxBufferedBytes: number
}

const SENT = Promise.resolve(true)
/** The result of a call whose message was not handed over. */
export const NOT_SENT = Promise.resolve(false)

/**
 * Hands messages to the transport in the order of the calls, each while there is room, and lets the caller wait for
 * room. A message that waits for its turn is still ours: its call can be cancelled.
 */
export class Sender {
  readonly #transport: SendTransport
  readonly #limits: SendLimits
  #queue: SendQueue | undefined // made for the first that waits
  #isFull = false // from the message that reached the mark until that one is flushed
  #filler: Outcome | undefined // of the call of that message
  #lost = 0

  constructor (transport: SendTransport, limits: SendLimits) {
    this.#transport = transport
    this.#limits = limits
  }

  /** Bytes that wait for their turn or for the network. */
  get bufferedBytes (): number {
    return (this.#queue?.bytes ?? 0) + this.#transport.bufferedAmount
  }

  /** Messages that were accepted and were not handed over: not yet, or never. */
  get unsent (): number {
    return this.#lost + (this.#queue?.count ?? 0)
  }

  /** `null`: it was not taken, for too much is unsent already. Where nothing else waits, one message is never too much. */
  send (data: string | Buffer, options: SendOptions = {}): Promise<boolean> | null {
    const size = typeof data === 'string' ? Buffer.byteLength(data) : data.length
    const cost = this.#cost
    if (this.#isTooMuch(cost, size)) return null
    const { compress = true, timeout = Infinity, signal } = options
    if (!this.#isFull && cost + size < this.#limits.highWaterMark) {
      this.#transport.send(data, size, compress)
      return SENT
    }
    if (this.#isFull && timeout === 0) return NOT_SENT
    const isLimited = timeout !== Infinity || signal !== undefined
    const outcome = this.#isFull ? this.#queued.add(data, size, compress, isLimited) : this.#fill(data, size, compress)
    if (isLimited) this.#limit(outcome, timeout, signal)
    return outcome.promise
  }

  /** Sends a message that goes to others too, and for which nobody waits. `false`: it was not taken, as with `send`. */
  publish (publication: Publication): boolean {
    const { data, size } = publication
    const cost = this.#cost
    if (this.#isTooMuch(cost, size)) return false
    if (this.#isFull) this.#queued.addFrame(publication.frame, size)
    else if (cost + size < this.#limits.highWaterMark) this.#transport.publish(publication)
    else this.#fill(data, size, true)
    return true
  }

  /** Writes what the transport has kept. */
  flush (): void {
    this.#transport.flush()
  }

  /** Hands everything over at once: what waits for its turn, and what the transport has kept. */
  handOver (): void {
    this.#settleFiller(true)
    for (const batch of this.#queue ?? []) {
      this.#giveToTransport(batch)
      this.#filler = undefined
      batch.settle(true)
    }
    this.#transport.flush()
  }

  /** Nothing more can be handed over. */
  end (): void {
    this.#lost = this.unsent
    for (const batch of this.#queue ?? []) {
      this.#queue?.delete(batch)
      batch.settle(false)
    }
    this.#settleFiller(false)
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
    this.#isFull = true
    const filler = this.#filler = new Outcome()
    this.#transport.send(data, size, compress, () => this.#transportOnFlush())
    return filler
  }

  #giveToTransport (batch: Batch): void {
    this.#queue?.delete(batch)
    if (this.#transport.cost + batch.size < this.#limits.highWaterMark) {
      this.#transport.sendBatch(batch)
    } else {
      this.#isFull = true
      this.#filler = batch
      this.#transport.sendBatch(batch, () => this.#transportOnFlush())
    }
  }

  #transportOnFlush (): void {
    this.#isFull = false
    this.#settleFiller(true)
    for (const batch of this.#queue ?? []) {
      this.#giveToTransport(batch)
      if (this.#isFull) break
      batch.settle(true)
    }
  }

  #settleFiller (isSent: boolean): void {
    const filler = this.#filler
    this.#filler = undefined
    filler?.settle(isSent)
  }

  // Cancelled, a call whose message was handed over has no reason to wait for room, and the message is sent
  #limit (outcome: Outcome, timeout: number, signal: AbortSignal | undefined): void {
    const cancel = () => {
      const isWaiting = outcome instanceof Batch && this.#queue?.delete(outcome) === true
      outcome.settle(!isWaiting)
    }
    const timer = timeout === Infinity ? undefined : setTimeout(cancel, timeout)
    const calls = signal && AbortableCalls.of(signal)
    calls?.add(cancel)
    outcome.onSettle = () => {
      clearTimeout(timer)
      calls?.delete(cancel)
    }
  }
}

/**
 * The same bytes, not copied, as what the transport takes.
 * @throws FST_WSA_INVALID_ARGUMENT
 */
export function toSendable (data: Sendable): string | Buffer {
  if (typeof data === 'string' || Buffer.isBuffer(data)) return data
  try {
    if (ArrayBuffer.isView(data)) return Buffer.from(data.buffer, data.byteOffset, data.byteLength)
    if (types.isAnyArrayBuffer(data)) return Buffer.from(data)
  } catch {
    throw invalidArgument('data', 'bytes that were not transferred elsewhere', data)
  }
  throw invalidArgument('data', 'a string, a Buffer, an ArrayBufferView or an ArrayBuffer', data)
}

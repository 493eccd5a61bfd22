import { types } from 'node:util'
import type { Publication } from './frame.js'
import { AbortableCalls } from './abortable-calls.js'
import { CANCEL_OPTIONS, invalidArgument, type CancelOptions, type Names } from './arguments.js'

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
  /** Takes a message of `size` bytes. */
  send (data: string | Buffer, size: number, compress: boolean, onFlushed?: () => void): void
  /** Takes a message that goes to others too. */
  publish (publication: Publication): void
  /** Writes what it may have kept to write it together with what follows. */
  flush (): void
  /** A message came, and with it others or not: the answers go out together, or the first one at once. */
  expectAnswers (isMany: boolean): void
}

export interface SendLimits {
  /** With so many unsent bytes a call waits. */
  readonly highWaterMark: number
  /** With so many unsent bytes a call is refused. */
  readonly maxBufferedBytes: number
}

/** A message, and the call that waits with it: for its turn, then for room behind it. */
interface Call {
  data: string | Buffer
  readonly size: number
  readonly compress: boolean
  isHandedOver: boolean
  settle (isSent: boolean): void
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
  #queue: Set<Call> | undefined // made for the first that waits
  #queuedBytes = 0
  #isFull = false // from the message that reached the mark until that one is flushed
  #filler: Call | undefined // the call of that message
  #lost = 0

  constructor (transport: SendTransport, limits: SendLimits) {
    this.#transport = transport
    this.#limits = limits
  }

  /** Bytes that wait for their turn or for the network. */
  get bufferedBytes (): number {
    return this.#queuedBytes + this.#transport.bufferedAmount
  }

  /** Messages that were accepted and were not handed over: not yet, or never. */
  get unsent (): number {
    return this.#lost + (this.#queue?.size ?? 0)
  }

  /** `null`: it was not taken, for too much is unsent already. Where nothing else waits, one message is never too much. */
  send (data: string | Buffer, options: SendOptions = {}): Promise<boolean> | null {
    const size = typeof data === 'string' ? Buffer.byteLength(data) : data.length
    const unsent = this.bufferedBytes + size
    const { highWaterMark, maxBufferedBytes } = this.#limits
    if (unsent > size && unsent > maxBufferedBytes) return null
    const { compress = true, timeout = Infinity, signal } = options
    if (!this.#isFull && unsent < highWaterMark) {
      this.#transport.send(data, size, compress)
      return SENT
    }
    if (this.#isFull && timeout === 0) return NOT_SENT
    const call: Call = { data, size, compress, isHandedOver: false, settle: () => {} }
    if (this.#isFull) this.#enqueue(call)
    else this.#giveToTransport(call)
    return this.#wait(call, timeout, signal)
  }

  /** Sends a message that goes to others too, and for which nobody waits. `false`: it was not taken, as with `send`. */
  publish (publication: Publication): boolean {
    const { data, size } = publication
    if (this.#isFull || this.bufferedBytes + size >= this.#limits.highWaterMark) return this.send(data) !== null
    this.#transport.publish(publication)
    return true
  }

  /** Writes what the transport has kept. */
  flush (): void {
    this.#transport.flush()
  }

  /** Hands everything over at once: what waits for its turn, and what the transport has kept. */
  handOver (): void {
    this.#filler?.settle(true)
    for (const call of this.#queue ?? []) {
      this.#giveToTransport(call)
      call.settle(true)
    }
    this.#transport.flush()
  }

  /** Nothing more can be handed over. */
  end (): void {
    this.#lost = this.unsent
    for (const call of this.#queue ?? []) call.settle(false)
    this.#filler?.settle(false)
  }

  #enqueue (call: Call): void {
    this.#queue ??= new Set()
    this.#queue.add(call)
    this.#queuedBytes += call.size
  }

  #giveToTransport (call: Call): void {
    const { data, size, compress } = call
    this.#dequeue(call)
    call.isHandedOver = true
    call.data = '' // a call whose memory has grown old would keep it until the next full collection
    if (this.#transport.bufferedAmount + size < this.#limits.highWaterMark) {
      this.#transport.send(data, size, compress)
    } else {
      this.#isFull = true
      this.#filler = call
      this.#transport.send(data, size, compress, () => this.#transportOnFlush())
    }
  }

  #transportOnFlush (): void {
    this.#isFull = false
    this.#filler?.settle(true)
    for (const call of this.#queue ?? []) {
      this.#giveToTransport(call)
      if (this.#isFull) break
      call.settle(true)
    }
  }

  // Cancelled, a call whose message was handed over has no reason to wait for room, and the message is sent
  #wait (call: Call, timeout: number, signal: AbortSignal | undefined): Promise<boolean> {
    return new Promise((resolve) => {
      const cancel = () => call.settle(call.isHandedOver)
      const timer = timeout === Infinity ? undefined : setTimeout(cancel, timeout)
      const calls = signal && AbortableCalls.of(signal)
      calls?.add(cancel)
      call.settle = (isSent) => {
        clearTimeout(timer)
        calls?.delete(cancel)
        this.#dequeue(call)
        if (this.#filler === call) this.#filler = undefined
        resolve(isSent)
      }
    })
  }

  #dequeue (call: Call): void {
    if (this.#queue?.delete(call) === true) this.#queuedBytes -= call.size
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

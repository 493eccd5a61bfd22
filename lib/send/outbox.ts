import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Batch } from './batch.js'
import { headerSize, MAX_POOLED, writeFrame, writeHeader, type Publication } from './frame.js'
import type { SendTransport } from './sender.js'

/** Binary messages above this size are not copied, in bytes. */
const MAX_COPIED = 16 * 1024

/** What was gathered is written once it has this size, in bytes. */
const MAX_GATHERED = 64 * 1024

/** What a write that has to wait takes beside its bytes, in bytes: a Buffer, its memory, and an entry in the stream. */
const WRITE_COST = 512

/** In place of the size of a payload: the message has its header already. */
const FRAMED = -1

type OnWritten = ((error?: Error | null) => void) | undefined

/** The `readyState` of a socket that is open (WHATWG WebSockets, section 3.1). */
export const OPEN = 1

/** What is used of a connection's socket. */
export interface OutboxSocket {
  readonly readyState: number
  readonly bufferedAmount: number
  /** False: the next message is written at once, which sets it to true. True: messages are gathered into one write. */
  isBatching: boolean
  sentMessages: number
  sentBytes: number
  /** Set while something is gathered. It is flushed before `ws` itself writes. */
  gathered: { flush (): void } | undefined
}

/** A shorter write, in bytes, gets its memory from `Buffer.allocUnsafe`, which takes it from Node's own pool. */
const MIN_REUSED = 1024

/** Memory in which longer writes are put together, one after the other. The part before `used` belongs to streams that are still writing it. */
let scratch = newScratch()
let used = 0

/**
 * Frames the messages of a server, and gathers the frames until the next `process.nextTick` into one write, which is one system call.
 * Only the answer to a message that came alone is written at once.
 */
export class Outbox implements SendTransport {
  readonly #socket: OutboxSocket
  readonly #stream: Duplex
  readonly #isPlainSocket: boolean
  #messages: (string | Buffer)[] | undefined // made for the first message that is gathered
  #payloadSizes: number[] | undefined
  #size = 0 // of what was gathered, with headers
  #isScheduled = false
  #waitingWrites = 0 // writes that were made while another waited; the count begins anew with an empty stream

  constructor (socket: OutboxSocket, stream: Duplex) {
    this.#socket = socket
    this.#stream = stream
    // Only a plain socket is certainly done with the memory once nothing waits in it. With TLS something waits after every write
    this.#isPlainSocket = stream.constructor === Socket
  }

  get isOpen (): boolean {
    return this.#socket.readyState === OPEN
  }

  get bufferedAmount (): number {
    return this.#socket.bufferedAmount + this.#size
  }

  get cost (): number {
    const { bufferedAmount } = this.#socket
    return bufferedAmount === 0 ? this.#size : bufferedAmount + this.#size + this.#waitingWrites * WRITE_COST
  }

  get messageCost (): number {
    return 0
  }

  offer (data: string | Buffer, size: number, compress: boolean, room: number): boolean {
    if (!this.isOpen || this.cost + size >= room) return false
    this.send(data, size, compress)
    return true
  }

  /** Takes a message. Bytes up to 16 KiB are copied, so the caller may change them; larger ones must stay unchanged. */
  send (data: string | Buffer, payloadSize: number, _compress: boolean, onFlushed?: () => void): void {
    this.#socket.sentMessages++
    this.#socket.sentBytes += payloadSize
    const onWritten = onFlushed && ifWritten(this.#stream, onFlushed)
    if (payloadSize > (typeof data === 'string' ? MAX_GATHERED : MAX_COPIED)) {
      this.flush()
      this.#writeUncopied(data, payloadSize, onWritten)
    } else if (this.#size === 0 && (!this.#socket.isBatching || onWritten !== undefined)) {
      this.#socket.isBatching = true
      this.#writeOne(data, payloadSize, onWritten)
    } else {
      this.#gather(typeof data === 'string' ? data : Buffer.from(data), payloadSize, headerSize(payloadSize) + payloadSize)
      if (onWritten !== undefined || this.#size >= MAX_GATHERED) this.flush(onWritten)
    }
  }

  sendBatch (batch: Batch, onFlushed?: () => void): void {
    this.#socket.sentMessages += batch.count
    this.#socket.sentBytes += batch.payloadSize
    this.flush()
    this.#write(batch.take(), onFlushed && ifWritten(this.#stream, onFlushed))
  }

  /** Takes a message that goes to other connections too. A large one is not copied, nor is one that is written alone at once. */
  publish ({ frame, size }: Publication): void {
    this.#socket.sentMessages++
    this.#socket.sentBytes += size
    if (frame.length <= MAX_COPIED) {
      this.#gather(frame, FRAMED, frame.length)
    } else {
      this.flush()
      this.#write(frame)
    }
  }

  /** Writes what was gathered, so that what is written to the stream afterwards comes after it. */
  flush (onWritten?: OnWritten): void {
    const size = this.#size
    if (size === 0) return
    this.#size = 0
    this.#socket.gathered = undefined
    const frame = size > MAX_POOLED || this.#stream.writableLength === 0 ? this.#takeOnlyFrame() : undefined
    if (frame !== undefined) return this.#write(frame, onWritten)
    const memory = this.#memoryFor(size)
    this.#frameInto(memory)
    this.#writeMemory(memory, onWritten)
  }

  #writeOne (data: string | Buffer, payloadSize: number, onWritten: OnWritten): void {
    const size = headerSize(payloadSize) + payloadSize
    const memory = this.#memoryFor(size)
    writeFrame(memory, 0, data, payloadSize)
    this.#writeMemory(memory, onWritten)
  }

  #gather (data: string | Buffer, payloadSize: number, size: number): void {
    if (this.#size + size > MAX_GATHERED + MAX_COPIED) this.flush()
    this.#messages ??= []
    this.#payloadSizes ??= []
    this.#messages.push(data)
    this.#payloadSizes.push(payloadSize)
    if (this.#size === 0) this.#socket.gathered = this
    this.#size += size
    if (this.#isScheduled) return
    this.#isScheduled = true
    process.nextTick(() => {
      this.#isScheduled = false
      this.flush()
    })
  }

  #frameInto (memory: Buffer): void {
    const [messages = [], payloadSizes = []] = [this.#messages, this.#payloadSizes]
    let offset = 0
    for (let i = 0; i < messages.length; i++) {
      const [message, payloadSize] = [messages[i] as string | Buffer, payloadSizes[i] as number] // both arrays have the same length
      if (payloadSize === FRAMED) offset += (message as Buffer).copy(memory, offset) // a frame is a Buffer
      else offset = writeFrame(memory, offset, message, payloadSize)
      messages[i] = '' // an array that V8 counts as old would keep the message until a full garbage collection
    }
    messages.length = payloadSizes.length = 0
  }

  /** What was gathered, if it is a single frame. */
  #takeOnlyFrame (): Buffer | undefined {
    const [messages = [], payloadSizes = []] = [this.#messages, this.#payloadSizes]
    if (messages.length !== 1 || payloadSizes[0] !== FRAMED) return undefined
    const frame = messages[0] as Buffer // a frame is a Buffer
    messages[0] = ''
    messages.length = payloadSizes.length = 0
    return frame
  }

  #memoryFor (size: number): Buffer {
    if (this.#stream.writableLength > 0) return Buffer.allocUnsafeSlow(size) // it has to wait, and in Node's pool it would keep 8 KiB in memory
    if (size < MIN_REUSED || !this.#isPlainSocket) return Buffer.allocUnsafe(size)
    if (used + size > scratch.length) {
      scratch = newScratch()
      used = 0
    }
    return scratch.subarray(used, used + size)
  }

  #writeMemory (memory: Buffer, onWritten: OnWritten): void {
    this.#write(memory, onWritten)
    if (memory.buffer === scratch.buffer && this.#stream.writableLength > 0) used += memory.length
  }

  #write (data: string | Buffer, onWritten?: OnWritten): void {
    if (this.#stream.writableLength === 0) this.#waitingWrites = 0
    else this.#waitingWrites++
    this.#stream.write(data, onWritten)
  }

  #writeUncopied (data: string | Buffer, payloadSize: number, onWritten: OnWritten): void {
    const header = Buffer.allocUnsafe(headerSize(payloadSize))
    writeHeader(header, 0, typeof data !== 'string', payloadSize)
    this.#stream.cork()
    this.#write(header)
    this.#write(data, onWritten)
    this.#stream.uncork()
  }
}

/** A write that is under way when the connection is terminated reports no error, so the stream is asked too. */
export function ifWritten (stream: Duplex, onFlushed: () => void): OnWritten {
  return (error) => {
    if (error == null && !stream.destroyed) onFlushed()
  }
}

function newScratch (): Buffer {
  return Buffer.allocUnsafeSlow(2 * (MAX_GATHERED + MAX_COPIED))
}

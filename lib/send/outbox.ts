import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Batch } from './batch.js'
import { headerSize, MAX_POOLED, writeFrame, writeHeader, type Publication } from './frame.js'
import type { SendTransport } from './sender.js'

/** Bytes of a message above this size are not copied, in bytes. */
const MAX_COPIED = 16 * 1024

/** So many gathered bytes go out at once. */
const MAX_GATHERED = 64 * 1024

/** What a write that has to wait takes beside its bytes: a Buffer, its memory, and an entry in the stream. */
const WRITE_COST = 512

/** In place of the size of a payload: it has its header already. */
const FRAMED = -1

type OnWritten = ((error?: Error | null) => void) | undefined

/** What a socket of `ws` knows of what was sent. */
interface SentCount {
  readonly bufferedAmount: number
  sentMessages: number
  sentBytes: number
}

/** For a shorter write `Buffer.allocUnsafe` takes a part of Node's own pool, of 8 KiB or more. In bytes. */
const MIN_REUSED = 1024

/** Memory in which longer ones are put together, one after the other. The part that is used belongs to streams that still write it. */
let scratch = newScratch()
let used = 0

/**
 * Frames what a server sends, and gathers the frames of one turn of the event loop into one write: one system call in
 * place of many.
 */
export class Outbox implements SendTransport {
  readonly #socket: SentCount
  readonly #stream: Duplex
  readonly #isPlainSocket: boolean
  #messages: (string | Buffer)[] | undefined // made for the first that is gathered
  #payloadSizes: number[] | undefined
  #size = 0 // of what was gathered, with headers
  #isPrompt = true // the next message goes out at once if nothing was gathered: it is not the first of many
  #isScheduled = false
  #waitingWrites = 0 // since the stream had nothing to write

  constructor (socket: SentCount, stream: Duplex) {
    this.#socket = socket
    this.#stream = stream
    // Only such a socket is certainly done with the memory once nothing waits in it; with TLS something waits after every write
    this.#isPlainSocket = stream.constructor === Socket
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

  expectAnswers (isMany: boolean): void {
    this.#isPrompt = !isMany
  }

  /** Takes a message. Bytes may be changed afterwards where they are copied: up to 16 KiB. */
  send (data: string | Buffer, payloadSize: number, _compress: boolean, onFlushed?: () => void): void {
    this.#socket.sentMessages++
    this.#socket.sentBytes += payloadSize
    const onWritten = onFlushed && ifWritten(this.#stream, onFlushed)
    if (payloadSize > (typeof data === 'string' ? MAX_GATHERED : MAX_COPIED)) {
      this.flush()
      this.#writeUncopied(data, payloadSize, onWritten)
    } else if (this.#size === 0 && (this.#isPrompt || onWritten !== undefined)) {
      this.#isPrompt = false
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

  /** The same for a message that goes to others too: alone, it is not copied. */
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

  /** Writes what was gathered. What is written to the stream afterwards comes after it. */
  flush (onWritten?: OnWritten): void {
    const size = this.#size
    if (size === 0) return
    this.#size = 0
    const frame = size > MAX_POOLED || this.#stream.writableLength === 0 ? this.#takeOnlyFrame() : undefined
    if (frame !== undefined) return this.#write(frame, onWritten)
    const target = this.#target(size)
    this.#frameInto(target)
    this.#writeTarget(target, onWritten)
  }

  #writeOne (data: string | Buffer, payloadSize: number, onWritten: OnWritten): void {
    const size = headerSize(payloadSize) + payloadSize
    const target = this.#target(size)
    writeFrame(target, 0, data, payloadSize)
    this.#writeTarget(target, onWritten)
  }

  #gather (data: string | Buffer, payloadSize: number, size: number): void {
    if (this.#size + size > MAX_GATHERED + MAX_COPIED) this.flush()
    this.#messages ??= []
    this.#payloadSizes ??= []
    this.#messages.push(data)
    this.#payloadSizes.push(payloadSize)
    this.#size += size
    if (this.#isScheduled) return
    this.#isScheduled = true
    process.nextTick(() => {
      this.#isScheduled = false
      this.flush()
    })
  }

  #frameInto (target: Buffer): void {
    const [messages = [], payloadSizes = []] = [this.#messages, this.#payloadSizes]
    let offset = 0
    for (let i = 0; i < messages.length; i++) {
      const [message, payloadSize] = [messages[i] as string | Buffer, payloadSizes[i] as number] // as many as there are messages
      if (payloadSize === FRAMED) offset += (message as Buffer).copy(target, offset) // what is framed is bytes
      else offset = writeFrame(target, offset, message, payloadSize)
      messages[i] = '' // memory of the array that has grown old would keep it
    }
    messages.length = payloadSizes.length = 0
  }

  /** What was gathered, where it is nothing but one frame. */
  #takeOnlyFrame (): Buffer | undefined {
    const [messages = [], payloadSizes = []] = [this.#messages, this.#payloadSizes]
    if (messages.length !== 1 || payloadSizes[0] !== FRAMED) return undefined
    const frame = messages[0] as Buffer // what is framed is bytes
    messages[0] = ''
    messages.length = payloadSizes.length = 0
    return frame
  }

  #target (size: number): Buffer {
    if (this.#stream.writableLength > 0) return Buffer.allocUnsafeSlow(size) // it has to wait: in Node's pool it would keep 8 KiB
    if (size < MIN_REUSED || !this.#isPlainSocket) return Buffer.allocUnsafe(size)
    if (used + size > scratch.length) {
      scratch = newScratch()
      used = 0
    }
    return scratch.subarray(used, used + size)
  }

  #writeTarget (target: Buffer, onWritten: OnWritten): void {
    this.#write(target, onWritten)
    if (target.buffer === scratch.buffer && this.#stream.writableLength > 0) used += target.length
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

/** The write that is under way when the connection is cut off reports no error. */
export function ifWritten (stream: Duplex, onFlushed: () => void): OnWritten {
  return (error) => {
    if (error == null && !stream.destroyed) onFlushed()
  }
}

function newScratch (): Buffer {
  return Buffer.allocUnsafeSlow(2 * (MAX_GATHERED + MAX_COPIED))
}

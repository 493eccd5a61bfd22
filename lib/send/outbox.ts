import { Buffer } from 'node:buffer'
import { Socket } from 'node:net'
import process from 'node:process'
import type { Duplex } from 'node:stream'
import type { Batch } from './batch.js'
import { headerSize, MAX_JOINED, MAX_POOLED, textFrame, writeFrame, writeHeader, type Publication } from './frame.js'
import { FRAMED, Gathered } from './gathered.js'
import type { SendTransport } from './sender.js'

/** Binary messages above this size are not copied, in bytes. */
const MAX_COPIED = 16 * 1024

/** What was gathered is written once it has this size, in bytes. */
const MAX_GATHERED = 64 * 1024

/** So many bytes of short frames are joined into one string. V8 copies a string once more when it is written, so a longer one costs more than it gains. */
const MAX_RUN = 8 * 1024

/** What a write that has to wait takes beside its bytes, in bytes: a Buffer, its memory, and an entry in the stream. */
const WRITE_COST = 512

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

/** The outboxes that have gathered something in this turn, and how many they are. One call flushes all of them. */
const gathering: (Outbox | undefined)[] = []
let gatheringCount = 0

/**
 * Frames the messages of a server, and gathers the frames until the next `process.nextTick` into one write, which is one system call.
 * Only the answer to a message that came alone is written at once.
 */
export class Outbox implements SendTransport {
  readonly #socket: OutboxSocket
  readonly #stream: Duplex
  readonly #isPlainSocket: boolean
  #size = 0 // of what was gathered, with headers
  #joined = '' // the short frames that were gathered last, joined in a string whose characters stand for bytes
  #others: Gathered | undefined // what was gathered before them, made for the first other message
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
    const socket = this.#socket
    socket.sentMessages++
    socket.sentBytes += payloadSize
    const onWritten = onFlushed && ifWritten(this.#stream, onFlushed)
    if (payloadSize <= MAX_JOINED && typeof data === 'string' && data.length === payloadSize) this.#sendText(textFrame(data), onWritten)
    else if (payloadSize <= (typeof data === 'string' ? MAX_GATHERED : MAX_COPIED)) this.#sendCopied(data, payloadSize, onWritten)
    else this.#sendUncopied(data, payloadSize, onWritten)
  }

  sendBatch (batch: Batch, onFlushed?: () => void): void {
    this.#socket.sentMessages += batch.count
    this.#socket.sentBytes += batch.payloadSize
    this.flush()
    this.#write(batch.take(), onFlushed && ifWritten(this.#stream, onFlushed))
  }

  /** Takes a message that goes to other connections too. A large one is not copied, nor is one that is written alone at once. */
  publish (publication: Publication): void {
    const { frame, size } = publication
    const socket = this.#socket
    socket.sentMessages++
    socket.sentBytes += size
    if (frame.length <= MAX_POOLED) {
      this.#gatherJoined(publication.joinedTo(this.#joinedFor(frame.length)))
    } else if (frame.length <= MAX_COPIED) {
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
    const joined = this.#joined
    if (joined.length === size) {
      this.#joined = ''
      return this.#writeJoined(joined, onWritten)
    }
    this.#closeJoined()
    const others = this.#others as Gathered // what is not joined is there
    const frame = others.takeOnlyFrame()
    if (frame !== undefined) return this.#write(frame, onWritten)
    const memory = this.#memoryFor(size)
    others.takeInto(memory)
    this.#writeMemory(memory, onWritten)
  }

  #sendText (frame: string, onWritten: OnWritten): void {
    if (this.#goesAtOnce(onWritten)) return this.#writeJoined(frame, onWritten)
    this.#gatherJoined(this.#joinedFor(frame.length) + frame)
    if (onWritten !== undefined || this.#size >= MAX_GATHERED) this.flush(onWritten)
  }

  #sendCopied (data: string | Buffer, payloadSize: number, onWritten: OnWritten): void {
    const size = headerSize(payloadSize) + payloadSize
    if (this.#goesAtOnce(onWritten)) {
      const memory = this.#memoryFor(size)
      writeFrame(memory, 0, data, payloadSize)
      return this.#writeMemory(memory, onWritten)
    }
    this.#gather(typeof data === 'string' ? data : Buffer.from(data), payloadSize, size)
    if (onWritten !== undefined || this.#size >= MAX_GATHERED) this.flush(onWritten)
  }

  #sendUncopied (data: string | Buffer, payloadSize: number, onWritten: OnWritten): void {
    this.flush()
    const header = Buffer.allocUnsafe(headerSize(payloadSize))
    writeHeader(header, 0, typeof data !== 'string', payloadSize)
    this.#stream.cork()
    this.#write(header)
    this.#write(data, onWritten)
    this.#stream.uncork()
  }

  /** Whether the next message is written at once. If it is, what follows is gathered. */
  #goesAtOnce (onWritten: OnWritten): boolean {
    if (this.#size > 0 || (this.#socket.isBatching && onWritten === undefined)) return false
    this.#socket.isBatching = true
    return true
  }

  /** Writes joined frames. What has to wait is copied, because a string that is joined of others keeps more in memory than its bytes. */
  #writeJoined (frames: string, onWritten: OnWritten): void {
    if (this.#isPlainSocket && this.#stream.writableLength === 0) {
      this.#waitingWrites = 0
      this.#stream.write(frames, 'latin1', onWritten)
    } else {
      const memory = this.#memoryFor(frames.length)
      memory.write(frames, 'latin1')
      this.#writeMemory(memory, onWritten)
    }
  }

  /** What a short frame of `size` bytes is to be joined to. */
  #joinedFor (size: number): string {
    if (this.#size + size > MAX_GATHERED + MAX_COPIED) this.flush()
    if (this.#joined.length + size > MAX_RUN) this.#closeJoined()
    return this.#joined
  }

  /** @param joined what `#joinedFor` has returned, and one frame more */
  #gatherJoined (joined: string): void {
    const size = joined.length - this.#joined.length
    this.#joined = joined
    this.#grow(size)
  }

  /** What is gathered from here on comes after the frames that are joined. */
  #closeJoined (): void {
    if (this.#joined === '') return
    this.#add(this.#joined, FRAMED)
    this.#joined = ''
  }

  #gather (data: string | Buffer, payloadSize: number, size: number): void {
    if (this.#size + size > MAX_GATHERED + MAX_COPIED) this.flush()
    this.#closeJoined()
    this.#add(data, payloadSize)
    this.#grow(size)
  }

  #add (data: string | Buffer, payloadSize: number): void {
    this.#others ??= new Gathered()
    this.#others.add(data, payloadSize)
  }

  #grow (size: number): void {
    if (this.#size === 0) {
      this.#socket.gathered = this
      if (gatheringCount === 0) process.nextTick(flushAll)
      gathering[gatheringCount++] = this
    }
    this.#size += size
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
}

function flushAll (): void {
  let i = 0
  try {
    while (i < gatheringCount) {
      const outbox = gathering[i]
      gathering[i++] = undefined
      outbox?.flush()
    }
  } finally {
    gathering.copyWithin(0, i, gatheringCount)
    gatheringCount -= i
    if (gatheringCount > 0) process.nextTick(flushAll) // a stream has thrown
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

import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { headerSize, writeFrame, writeHeader } from './frame.js'

/** Bytes of a message above this size are not copied, in bytes. */
const MAX_COPIED = 16 * 1024

/** So many gathered bytes go out at once. */
const MAX_GATHERED = 64 * 1024

type OnFlushed = ((error?: Error | null) => void) | undefined

/** Where frames are put together: up to the mark, and one message beyond it. */
let scratch = newScratch()

/**
 * Frames what a server sends, and gathers the frames of one turn of the event loop into one write: one system call in
 * place of many.
 */
export class Outbox {
  /** Bytes that were gathered, headers included. */
  size = 0
  /** The next message goes out at once, if nothing was gathered: it is not the first of many. */
  isPrompt = true
  readonly #stream: Duplex
  readonly #messages: (string | Buffer)[] = []
  readonly #payloadSizes: number[] = []
  #isScheduled = false

  constructor (stream: Duplex) {
    this.#stream = stream
  }

  /**
   * Takes a message. Bytes may be changed afterwards where they are copied: up to 16 KiB.
   * @param onFlushed called when the message, and all before it, is with the network
   */
  add (data: string | Buffer, payloadSize: number, onFlushed?: OnFlushed): void {
    if (payloadSize > (typeof data === 'string' ? MAX_GATHERED : MAX_COPIED)) {
      this.flush()
      this.#writeUncopied(data, payloadSize, onFlushed)
    } else if (this.size === 0 && (this.isPrompt || onFlushed !== undefined)) {
      this.isPrompt = false
      const size = headerSize(payloadSize) + payloadSize
      const target = this.#target(size)
      writeFrame(target, 0, data, payloadSize)
      this.#write(target, size, onFlushed)
    } else {
      this.#gather(data, payloadSize)
      if (onFlushed !== undefined || this.size >= MAX_GATHERED) this.flush(onFlushed)
    }
  }

  /** Writes what was gathered. What is written to the stream afterwards comes after it. */
  flush (onFlushed?: OnFlushed): void {
    const { size } = this
    if (size === 0) return
    const target = this.#target(size)
    let offset = 0
    for (let i = 0; i < this.#messages.length; i++) {
      offset = writeFrame(target, offset, this.#messages[i] as string | Buffer, this.#payloadSizes[i] as number) // as many as there are messages
      this.#messages[i] = '' // memory of the array that has grown old would keep it
    }
    this.#messages.length = this.#payloadSizes.length = this.size = 0
    this.#write(target, size, onFlushed)
  }

  #gather (data: string | Buffer, payloadSize: number): void {
    if (this.size + payloadSize > MAX_GATHERED + MAX_COPIED) this.flush()
    this.#messages.push(typeof data === 'string' ? data : Buffer.from(data))
    this.#payloadSizes.push(payloadSize)
    this.size += headerSize(payloadSize) + payloadSize
    if (this.#isScheduled) return
    this.#isScheduled = true
    process.nextTick(() => {
      this.#isScheduled = false
      this.flush()
    })
  }

  // Only of a socket of the system is it certain that it is done with the memory once nothing waits in it
  #target (size: number): Buffer {
    return this.#stream instanceof Socket && this.#stream.writableLength === 0 ? scratch : Buffer.allocUnsafe(size)
  }

  #write (target: Buffer, size: number, onFlushed: OnFlushed): void {
    this.#stream.write(target.subarray(0, size), onFlushed)
    if (target === scratch && this.#stream.writableLength > 0) scratch = newScratch()
  }

  #writeUncopied (data: string | Buffer, payloadSize: number, onFlushed: OnFlushed): void {
    const header = Buffer.allocUnsafe(headerSize(payloadSize))
    writeHeader(header, 0, typeof data !== 'string', payloadSize)
    this.#stream.cork()
    this.#stream.write(header)
    this.#stream.write(data, onFlushed)
    this.#stream.uncork()
  }
}

function newScratch (): Buffer {
  return Buffer.allocUnsafeSlow(MAX_GATHERED + MAX_COPIED + 64) // and headers
}

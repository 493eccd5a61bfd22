import type { Duplex } from 'node:stream'
import { headerSize, writeFrame, writeHeader } from './frame.js'

/** Bytes above this size are not copied, in bytes. */
const MAX_COPIED = 16 * 1024

/** So many gathered bytes go out at once. */
const MAX_GATHERED = 64 * 1024

/**
 * Frames what a server sends, and gathers the frames of one turn of the event loop into one write: one system call in
 * place of many. The first of a turn goes out at once, unless more is expected.
 */
export class Outbox {
  /** Bytes that were gathered, headers included. */
  size = 0
  readonly #stream: Duplex
  #messages: (string | Buffer)[] = []
  #payloadSizes: number[] = []
  #lastTurn = -1
  #isScheduled = false

  constructor (stream: Duplex) {
    this.#stream = stream
  }

  /**
   * Takes a message. Bytes may be changed afterwards where they are copied: up to 16 KiB.
   * @param onFlushed called when the message, and all before it, is with the network
   */
  add (data: string | Buffer, payloadSize: number, isMoreExpected: boolean, onFlushed?: (error?: Error | null) => void): void {
    if (typeof data !== 'string' && payloadSize > MAX_COPIED) {
      this.flush()
      this.#writeUncopied(data, payloadSize, onFlushed)
    } else if (onFlushed !== undefined || (!isMoreExpected && this.size === 0 && this.#lastTurn !== turn())) {
      this.#lastTurn = turn()
      this.#gather(data, payloadSize)
      this.flush(onFlushed)
    } else {
      this.#gather(typeof data === 'string' ? data : Buffer.from(data), payloadSize)
      if (this.size >= MAX_GATHERED) this.flush()
      else this.#schedule()
    }
  }

  /** Writes what was gathered. What is written to the stream afterwards comes after it. */
  readonly flush = (onFlushed?: (error?: Error | null) => void): void => {
    if (this.size === 0) return
    const frames = Buffer.allocUnsafe(this.size)
    let offset = 0
    for (const [i, data] of this.#messages.entries()) offset = writeFrame(frames, offset, data, this.#payloadSizes[i] as number)
    this.#messages = []
    this.#payloadSizes = []
    this.size = 0
    this.#stream.write(frames, onFlushed)
  }

  #gather (data: string | Buffer, payloadSize: number): void {
    this.#messages.push(data)
    this.#payloadSizes.push(payloadSize)
    this.size += headerSize(payloadSize) + payloadSize
  }

  #schedule (): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    process.nextTick(() => {
      this.#isScheduled = false
      this.flush()
    })
  }

  #writeUncopied (data: Buffer, payloadSize: number, onFlushed: ((error?: Error | null) => void) | undefined): void {
    const header = Buffer.allocUnsafe(headerSize(payloadSize))
    writeHeader(header, 0, true, payloadSize)
    this.#stream.cork()
    this.#stream.write(header)
    this.#stream.write(data, onFlushed)
    this.#stream.uncork()
  }
}

let lastTurn = 0
let isTurning = false

/** The number of this turn: it lasts until no microtask is left. */
function turn (): number {
  if (!isTurning) {
    isTurning = true
    process.nextTick(endTurn)
  }
  return lastTurn
}

function endTurn (): void {
  isTurning = false
  lastTurn++
}

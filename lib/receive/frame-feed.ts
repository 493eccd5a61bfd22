import { Writable, type Duplex } from 'node:stream'
import type { WebSocket } from 'ws'
import { firstFrame, unmask, type Rest } from './unmask.js'

type OnData = (this: Duplex, chunk: Buffer) => void

/**
 * Gives `ws` one frame at a time of what is read, and the next one when it is through with the last. It is for connections on
 * which `ws` does not emit a message at once: so a pause takes effect after the message that led to it, and nothing waits inside
 * of `ws`. Bytes that are held back go back into the transport, so that its 'end' comes after them.
 *
 * Call it in the turn of the event loop in which `ws` has taken the transport.
 * @returns `false`: this version of `ws` cannot be fed, and reads by itself
 */
export function feedFrames (socket: WebSocket, transport: Duplex): boolean {
  const receiver = receiverOf(socket)
  const onData = transport.listeners('data').at(-1) as OnData | undefined // of ws, which was the last to listen
  if (receiver === undefined || onData === undefined) return false
  const feed = new FrameFeed(socket, transport, receiver)
  const listener = (chunk: Buffer) => feed.take(chunk)
  listener.listener = onData // as `once` does: so ws can take it off by its own function
  transport.off('data', onData)
  transport.on('data', listener)
  transport.prependListener('close', () => feed.end()) // before ws reads what is left
  return true
}

/**
 * The stream in which `ws` parses. The field is private, and the only private thing that this relies on: that it holds a
 * `Writable`, whose write is done when all messages that it completes were emitted.
 */
function receiverOf (socket: WebSocket): Writable | undefined {
  const { _receiver: receiver } = socket as { _receiver?: unknown } // ws 8 has it
  return receiver instanceof Writable ? receiver : undefined
}

class FrameFeed {
  readonly #socket: WebSocket
  readonly #transport: Duplex
  readonly #receiver: Writable
  #rest: Rest = 0 // of the frame of which ws has the beginning
  #isHolding = false // the transport was paused here
  #late: Buffer[] = [] // could not be put back, because the transport is destroyed

  constructor (socket: WebSocket, transport: Duplex, receiver: Writable) {
    this.#socket = socket
    this.#transport = transport
    this.#receiver = receiver
  }

  take (chunk: Buffer): void {
    this.#isHolding = false
    for (let at = 0; at < chunk.length && this.#isWanted;) {
      if (!this.#isReady) return this.#putBack(chunk.subarray(at))
      at += this.#give(chunk.subarray(at))
    }
  }

  /** The transport is closed: nothing can be held back any longer, and `ws` gets all that is left at once. */
  end (): void {
    if (this.#late.length === 0) return
    const left: Buffer | null = this.#transport.read()
    if (left !== null) this.#late.push(left)
    this.#receiver.write(Buffer.concat(this.#late))
  }

  /** `false`: `ws` has read a close frame, or what breaks the protocol, and ignores what follows. */
  get #isWanted (): boolean {
    return this.#receiver.errored === null && !this.#receiver.writableEnded
  }

  get #isReady (): boolean {
    return this.#receiver.writableLength === 0 && !this.#socket.isPaused && this.#late.length === 0
  }

  /** Gives `ws` the first frame, or the part of it that is there, and returns its length. */
  #give (bytes: Buffer): number {
    const end = firstFrame(bytes, this.#rest)
    const isCut = typeof end !== 'number' || end > bytes.length
    const frame = isCut ? bytes : bytes.subarray(0, end)
    unmask(frame, this.#rest)
    this.#rest = typeof end === 'number' ? end - frame.length : end
    this.#receiver.write(frame, this.#onThrough)
    return frame.length
  }

  #putBack (bytes: Buffer): void {
    if (this.#transport.destroyed) {
      this.#late.push(bytes)
      return
    }
    this.#isHolding = true
    this.#transport.pause()
    this.#transport.unshift(bytes)
  }

  readonly #onThrough = (): void => {
    if (!this.#isHolding || !this.#isReady) return
    this.#isHolding = false
    this.#transport.resume()
  }
}

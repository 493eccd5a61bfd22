import { Writable, type Duplex } from 'node:stream'
import type { WebSocket } from 'ws'
import { inOwnMemory } from '../base/own-memory.js'
import { CLOSE, CUT, FIN, headerSize, MASKED, MAX_HEADER, payloadSize } from './frame-header.js'
import { MIN_WORDS, takeMask, unmask } from './mask.js'
import { wsListener } from './stand-in.js'

/** How a read begins: with this many more bytes of a frame that began before, or with the rest of a header that began with these bytes. */
type Rest = number | Buffer

/**
 * Gives `ws` one frame at a time, and the next one once it has emitted the messages of the one before. This is for connections on which `ws` does not
 * emit a message at once: a pause then takes effect after the message that caused it, and nothing waits inside `ws`. Bytes that are
 * held back are put back into the transport, so that its 'end' comes after them.
 *
 * It must be called in the turn of the event loop in which `ws` took the transport.
 * @returns `false` if this version of `ws` cannot be fed, so that it reads by itself
 */
export function feedFrames (socket: WebSocket, transport: Duplex): boolean {
  const receiver = receiverOf(socket)
  const onData = wsListener(transport, 'data')
  if (receiver === undefined || onData === undefined) return false
  const feed = new FrameFeed(socket, transport, receiver)
  const listener = (chunk: Buffer) => feed.take(chunk)
  listener.listener = onData // as `once` does it, so that ws can take it off by its own function
  transport.off('data', onData)
  transport.on('data', listener)
  transport.prependListener('close', () => feed.end()) // before ws, which reads then what is left
  return true
}

/**
 * The stream in which `ws` parses. The field is private. All that is relied on is that it holds a `Writable` which is done with a
 * write when it has emitted the messages that the write completes.
 */
export function receiverOf (socket: WebSocket): Writable | undefined {
  const { _receiver: receiver } = socket as { _receiver?: unknown } // ws 8 has it
  return receiver instanceof Writable ? receiver : undefined
}

class FrameFeed {
  readonly #socket: WebSocket
  readonly #transport: Duplex
  readonly #receiver: Writable
  #rest: Rest = 0 // what is missing of the frame that ws has the beginning of
  #isHolding = false // the transport was paused by this class
  #hasWaited = false // whether the close frame has waited
  #late: Buffer[] = [] // bytes that could not be put back, because the transport is destroyed

  constructor (socket: WebSocket, transport: Duplex, receiver: Writable) {
    this.#socket = socket
    this.#transport = transport
    this.#receiver = receiver
  }

  take (chunk: Buffer): void {
    this.#isHolding = false
    for (let at = 0; at < chunk.length && this.#isWanted;) {
      if (!this.#isReady) return this.#putBack(chunk.subarray(at))
      if (chunk[at] === CLOSE && this.#rest === 0 && !this.#hasWaited) return this.#waitATurn(chunk.subarray(at))
      at += this.#give(chunk.subarray(at))
    }
  }

  /** The transport has closed, so nothing can be held back any longer: `ws` gets everything that is left at once. */
  end (): void {
    if (this.#late.length === 0) return
    const left: Buffer | null = this.#transport.read(this.#transport.readableLength) // without a size it might give one chunk only
    if (left !== null) this.#late.push(left)
    this.#receiver.write(Buffer.concat(this.#late))
  }

  /** Whether `ws` takes more. After a close frame or a violation of the protocol it ignores what follows. */
  get #isWanted (): boolean {
    return this.#receiver.errored === null && !this.#receiver.writableEnded
  }

  get #isReady (): boolean {
    return this.#receiver.writableLength === 0 && !this.#socket.isPaused && this.#late.length === 0
  }

  /** Gives `ws` the first frame, or as much of it as is there, and returns how many bytes that are. */
  #give (bytes: Buffer): number {
    const end = firstFrame(bytes, this.#rest)
    const isCut = typeof end !== 'number' || end > bytes.length
    const frame = isCut ? bytes : bytes.subarray(0, end)
    if (!isCut && this.#rest === 0) unmaskFrame(frame)
    this.#rest = typeof end === 'number' ? end - frame.length : end
    this.#receiver.write(!isCut && frame[0]! < FIN ? inOwnMemory(frame) : frame, this.#onThrough) // ws keeps a fragment until its message is complete
    return frame.length
  }

  /** Goes on in a later turn of the event loop, so that the handler can answer the messages before the close frame. */
  #waitATurn (bytes: Buffer): void {
    this.#hasWaited = true
    this.#putBack(bytes)
    setImmediate(this.#onThrough)
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

/**
 * Finds the end of the first frame in a read, which may have begun in the read before.
 * @param rest how the read begins
 * @returns where the frame ends, which may be beyond the read; or the beginning of its header, if the read ends within that
 */
function firstFrame (chunk: Buffer, rest: Rest): Rest {
  if (typeof rest === 'number') return rest > 0 ? rest : endOfFrame(chunk)
  const end = endOfFrame(Buffer.concat([rest, chunk.subarray(0, MAX_HEADER)]))
  return typeof end === 'number' ? end - rest.length : end
}

function endOfFrame (bytes: Buffer): Rest {
  const size = headerSize(bytes, 0)
  return size === CUT ? Buffer.from(bytes) : size + payloadSize(bytes, 0)
}

/** Takes the mask off a large frame, because `ws` would do it byte by byte, and sets the mask to zeros, with which `ws` has no work. */
function unmaskFrame (frame: Buffer): void {
  const size = payloadSize(frame, 0)
  if (size < MIN_WORDS || frame[1]! < MASKED) return
  const start = frame.length - size
  unmask(frame, start, frame.length, takeMask(frame, start - 4))
}

import { isUtf8 } from 'node:buffer'
import { inOwnMemory } from '../base/own-memory.js'
import { CUT, headerSize, MASKED, payloadSize, WHOLE_BINARY, WHOLE_TEXT } from './frame-header.js'
import { MIN_WORDS, NOT_ASCII, takeMask, unmaskBytes, unmaskWords, wordsOf } from './mask.js'
import { PassedFrames } from './passed-frames.js'

/** Gets everything that was read, in order. */
export interface FrameSink {
  /** Whether a handler awaits the messages. */
  readonly isAwaited: boolean
  /** Whether the handler may still have to answer what it was given, because no receive waits. */
  readonly isBehind: boolean
  /** Gets a message, which is a part of a chunk. */
  take (chunk: Buffer, start: number, end: number, isBinary: boolean, isAscii: boolean): void
  /**
   * Passes bytes on to `ws`. Returns whether `ws` has emitted a message.
   * @param isAscii whether that message is known to be ASCII
   */
  pass (bytes: Buffer, isAscii: boolean): boolean
}

export interface FrameLimits {
  /** The largest message, in bytes. */
  readonly maxPayload: number
  /** The most frames of a message; 0 for no limit. */
  readonly maxFragments?: number | undefined
  readonly skipUTF8Validation?: boolean | undefined
}

/** The size of a short header of a client: two bytes and the mask. */
const SHORT_HEADER = 6

/**
 * Reads what a client sends, in front of `ws`. A message that is one frame and that one read has as a whole is taken here if `ws` would
 * emit it as it is. Everything else goes on to `ws`, which is the judge of it. A frame is taken only where `ws` is between two messages,
 * so `ws` does not notice that it is missing.
 */
export class FrameReader {
  readonly #sink: FrameSink
  readonly #limits: FrameLimits
  #passed: PassedFrames | undefined // while ws has something under way
  // A listener has thrown in the middle of a read. The rest of that read is lost, so nothing more is read, as with ws alone
  #hasThrown = false
  #hasWaited = false // whether the read under way begins with a frame that has waited
  #hasGiven = false // whether the read under way has given messages

  constructor (sink: FrameSink, limits: FrameLimits) {
    this.#sink = sink
    this.#limits = limits
  }

  /** Whether the handler may still have to answer messages that it was given. */
  get isBehind (): boolean {
    return this.#hasGiven ? this.#sink.isAwaited : !this.#hasWaited && this.#sink.isBehind
  }

  /**
   * Reads a chunk, which it changes in place. A frame for which `ws` ends the connection has to wait until the handler has had its turn to
   * answer the messages before it, so that its answers still go out.
   * @param hasWaited the frame with which the chunk begins has waited already
   * @returns where the frame begins that has to wait, or the length of the chunk
   */
  read (chunk: Buffer, hasWaited = false): number {
    this.#hasWaited = hasWaited
    this.#hasGiven = false
    if (this.#hasThrown) return chunk.length
    this.#hasThrown = true // unless the read comes to its end
    let at = 0
    while (at < chunk.length) {
      if (this.#passed === undefined || this.#passed.isFree) at = this.#take(chunk, at)
      if (at === chunk.length) break
      const end = this.#pass(chunk, at)
      if (end === at) break
      at = end
    }
    this.#hasThrown = false
    if (this.#passed?.isFree === true) this.#passed = undefined // so that an idle connection does not keep it
    return at
  }

  /** Takes messages until one is to be passed on. Returns where that one begins. */
  #take (chunk: Buffer, from: number): number {
    const sink = this.#sink
    const { maxPayload, skipUTF8Validation = false } = this.#limits
    const { length } = chunk
    let words: Int32Array | undefined
    let at = from
    while (at + SHORT_HEADER <= length) {
      const first = chunk[at]!
      const second = chunk[at + 1]!
      if ((first !== WHOLE_TEXT && first !== WHOLE_BINARY) || second < MASKED) break
      const header = second < MASKED + 126 ? SHORT_HEADER : headerSize(chunk, at)
      if (header === CUT) break
      const size = second < MASKED + 126 ? second - MASKED : payloadSize(chunk, at)
      const start = at + header
      const end = start + size
      if (size > maxPayload || end > length) break
      const mask = takeMask(chunk, start - 4)
      const bits = size < MIN_WORDS ? unmaskBytes(chunk, start, end, mask) : unmaskWords(chunk, start, end, mask, words ??= wordsOf(chunk))
      if (bits >= NOT_ASCII && first === WHOLE_TEXT && !skipUTF8Validation && !isUtf8(chunk.subarray(start, end))) break
      sink.take(chunk, start, end, first === WHOLE_BINARY, bits < NOT_ASCII)
      at = end
    }
    if (at > from) this.#hasGiven = true
    return at
  }

  /** Passes frames on to `ws` until it has nothing under way, or one has to wait. Returns where that is. */
  #pass (chunk: Buffer, from: number): number {
    const passed = this.#passed ??= new PassedFrames(this.#limits)
    let at = from
    do {
      const end = passed.follow(chunk, at, this)
      if (end === at) break
      if (passed.isFragment) {
        if (from < at) this.#sink.pass(chunk.subarray(from, at), false)
        this.#sink.pass(inOwnMemory(chunk.subarray(at, end)), false)
        from = end
      } else if (passed.isMessageDue) {
        if (this.#sink.pass(chunk.subarray(from, end), passed.isAscii)) this.#hasGiven = true
        else passed.isGivenUp = true
        from = end
      }
      at = end
    } while (at < chunk.length && !passed.isFree)
    if (from < at) this.#sink.pass(chunk.subarray(from, at), false)
    return at
  }
}

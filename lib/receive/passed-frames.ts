import { isUtf8 } from 'node:buffer'
import { BINARY, CONTINUATION, CUT, FIN, headerSize, knownSize, MASKED, MAX_HEADER, payloadSize, PING, PONG, TEXT } from './frame-header.js'
import { NOT_ASCII, rotated, takeMask, unmask } from './mask.js'

/** The mask of a smaller payload is left to `ws`, in bytes, unless it is a part of a text that has to be looked at. */
const MIN_UNMASKED = 48

/** The largest second byte of a control frame, whose payload has at most 125 bytes (RFC 6455, section 5.5). */
const MAX_CONTROL = MASKED + 125

/** Beyond which `ws` ends the connection. */
interface PassedLimits {
  /** The largest message, in bytes. */
  readonly maxPayload: number
  /** The most frames of a message; 0 for no limit. */
  readonly maxFragments?: number | undefined
}

/** The handler of the connection. */
interface Handler {
  /** Whether it may still have to answer messages that it was given. */
  readonly isBehind: boolean
}

const NO_BYTES = Buffer.alloc(0)

/**
 * Follows the frames that are passed on to `ws`, to know where the next one begins, and whether `ws` is at the beginning of a message
 * then. It takes the masks off messages, however many reads they come in.
 */
export class PassedFrames {
  /**
   * Whether `ws` ends the connection, or did not emit a message that was due. Then it gets everything that follows as it is, and nothing
   * is judged here any more.
   */
  isGivenUp = false
  /** Whether the frame under way, or the last one, is a fragment that others follow: `ws` keeps it until the message is complete. */
  isFragment = false
  /** Whether the message whose last frame was passed on is known to be ASCII. */
  isAscii = false
  readonly #limits: PassedLimits
  #cut = NO_BYTES // the beginning of a header, with which the last read has ended
  #left = 0 // bytes of the payload under way that are still to come
  #isRead = false // the mask of these bytes is taken off here
  #mask = 0
  #isUtf8 = false // each fragment so far is known to be UTF-8 by itself
  #opcode = CONTINUATION // of the message of which fragments have come; CONTINUATION where none has
  #size = 0 // of these fragments, in bytes
  #count = 0 // of these fragments
  #isLast = false // the frame under way is the last one of a message

  constructor (limits: PassedLimits) {
    this.#limits = limits
  }

  /** Whether `ws` has begun nothing, so that it need not get the next frame. */
  get isFree (): boolean {
    return this.#left === 0 && this.#opcode === CONTINUATION && this.#cut.length === 0 && !this.isGivenUp
  }

  /** Whether a message is complete, which `ws` emits as soon as it gets these bytes. */
  get isMessageDue (): boolean {
    return this.#isLast && this.#left === 0
  }

  /**
   * Goes on with the frame under way, or begins the next one.
   * @param handler if it is behind, a frame has to wait for which `ws` ends the connection, or may end it
   * @returns where the frame ends, or what there is of it; `at` if it has to wait
   */
  follow (chunk: Buffer, at: number, handler: Handler): number {
    if (this.isGivenUp) return chunk.length
    if (this.#left === 0) return this.#begin(chunk, at, handler)
    const end = this.#goOn(chunk, at)
    if (!this.isAscii) this.#isUtf8 = false // a character may be split between the reads
    return end
  }

  #begin (chunk: Buffer, at: number, handler: Handler): number {
    const bytes = chunk.subarray(at, at + MAX_HEADER)
    const header = this.#cut.length === 0 ? bytes : Buffer.concat([this.#cut, bytes])
    const length = headerSize(header, 0)
    this.isFragment = this.#isLast = false
    if (length === CUT) {
      // ws judges a header as soon as it has the first two bytes, and the size as soon as it has that
      const isEnd = header.length > 1 && this.#judge(header[0]!, header[1]!, knownSize(header), false) === 'end'
      if (isEnd && handler.isBehind) return at
      this.isGivenUp = isEnd
      this.#cut = Buffer.from(header)
      return chunk.length
    }
    const [first, second] = [header[0]!, header[1]!] // the header is there
    const size = payloadSize(header, 0)
    const start = at + length - this.#cut.length
    const isWhole = this.#cut.length === 0 && start + size <= chunk.length
    const verdict = this.#judge(first, second, size, isWhole)
    const mayEnd = verdict === 'end' || (verdict === 'doubtful' && !(isWhole && this.#endsAsUtf8(chunk, start, start + size)))
    if (mayEnd && handler.isBehind) return at
    if (verdict === 'end') {
      this.isGivenUp = true
      return chunk.length
    }
    this.isFragment = first < FIN
    this.#left = size
    this.#isRead = false
    if (first < PING) this.#beginPayload(chunk, start, first, size)
    this.#cut = NO_BYTES
    const end = this.#goOn(chunk, start)
    if (this.isFragment && this.#opcode === TEXT && !this.isAscii) this.#isUtf8 &&= isWhole && isUtf8(chunk.subarray(start, end))
    return end
  }

  /** The payload of a message, or of a fragment of one. */
  #beginPayload (chunk: Buffer, start: number, first: number, size: number): void {
    if (this.#opcode === CONTINUATION) {
      this.#opcode = first & 127
      this.#size = this.#count = 0
      this.isAscii = this.#isUtf8 = this.#opcode === TEXT
    }
    this.#size += size
    this.#count++
    const isFragmentOfText = this.#opcode === TEXT && (first < FIN || (first & 127) === CONTINUATION)
    this.#isLast = first >= FIN
    if (this.#isLast) this.#opcode = CONTINUATION
    this.#isRead = this.#cut.length === 0 && (size >= MIN_UNMASKED || isFragmentOfText) // a cut header has gone to ws with its mask
    if (this.#isRead) this.#mask = takeMask(chunk, start - 4)
    else this.isAscii = this.#isUtf8 = false
  }

  /** Whether a text is UTF-8 for certain, of which these bytes are the last fragment. It takes their mask off. */
  #endsAsUtf8 (chunk: Buffer, start: number, end: number): boolean {
    if (this.#opcode === TEXT && !this.#isUtf8) return false
    return unmask(chunk, start, end, takeMask(chunk, start - 4)) < NOT_ASCII || isUtf8(chunk.subarray(start, end))
  }

  /**
   * Foresees what `ws` will do when it has got a frame. 'end': it ends the connection, for a close frame or for what breaks the protocol.
   * 'doubtful': it may end it, because the frame completes a text, which may not be UTF-8.
   * @param isWhole whether the rest of the frame is in this read
   */
  #judge (first: number, second: number, size: number, isWhole: boolean): 'fine' | 'doubtful' | 'end' {
    if (second < MASKED) return 'end'
    if (first === PING || first === PONG) return second <= MAX_CONTROL ? 'fine' : 'end'
    const isFirst = this.#opcode === CONTINUATION
    const opcode = first & 127 // with the reserved bits
    const isInPlace = isFirst ? opcode === TEXT || opcode === BINARY : opcode === CONTINUATION
    const { maxPayload, maxFragments = 0 } = this.#limits
    if (!isInPlace || (isFirst ? size : this.#size + size) > maxPayload) return 'end'
    if (!isFirst && maxFragments > 0 && this.#count >= maxFragments) return 'end'
    const isText = (isFirst ? opcode : this.#opcode) === TEXT
    // A whole text is passed on only if it is not UTF-8
    return first >= FIN && isText && (isWhole || !isFirst) ? 'doubtful' : 'fine'
  }

  #goOn (chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + this.#left)
    this.#left -= end - at
    if (this.#isRead) {
      if (unmask(chunk, at, end, this.#mask) >= NOT_ASCII) this.isAscii = false
      this.#mask = rotated(this.#mask, end - at)
    }
    return end
  }
}

/** Frames for the benchmarks. Each frame is a whole message. */
import { deflate, RSV1 } from '../../test/fixtures/deflate.js'
import { frame, payloadSize } from '../../test/fixtures/frames.js'

const MASK = Buffer.from([0x5a, 0xc3, 0x17, 0x9e]) // always the same, so that every run sends the same bytes

/** A text message as a server sends it. */
export const serverFrame = (payload: Buffer) => frame(payload, { isMasked: false })

/** A text message as a client sends it. */
export const clientFrame = (payload: Buffer) => frame(payload, { mask: MASK })

/** A text message as a client sends it, compressed without context from earlier messages (RFC 7692, section 7.2.1), so the same frame can be sent many times. */
export const compressedFrame = (payload: Buffer) => frame(deflate(payload), { rsv: RSV1, mask: MASK })

/** Counts the frames of a server in chunks that may begin and end anywhere. */
export class FrameCounter {
  readonly #header = Buffer.alloc(10)
  #headerBytes = 0
  #payloadLeft = 0

  /** Returns how many frames this chunk completes. */
  count (chunk: Buffer): number {
    let frames = 0
    let at = 0
    while (at < chunk.length) {
      if (this.#payloadLeft === 0) {
        this.#header.writeUInt8(chunk.readUInt8(at++), this.#headerBytes++)
        const size = payloadSize(this.#header.subarray(0, this.#headerBytes))
        if (size === null) continue
        this.#headerBytes = 0
        this.#payloadLeft = size
      } else {
        const taken = Math.min(this.#payloadLeft, chunk.length - at)
        this.#payloadLeft -= taken
        at += taken
      }
      if (this.#payloadLeft === 0) frames++
    }
    return frames
  }
}

const WORDS = 'the a message socket was sent before it came back and nobody waited for answer order price user room time open close 17 204 9000 true null "id": "name": {"text": }, frame queue'.split(' ')

/** Text of `size` bytes that depends only on the seed. */
export function sampleText (size: number, seed: number): Buffer {
  let state = (seed + 1) * 2654435761 >>> 0
  let text = ''
  while (text.length < size) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    text += `${WORDS[(state >>> 16) % WORDS.length]} `
  }
  return Buffer.from(text.slice(0, size))
}

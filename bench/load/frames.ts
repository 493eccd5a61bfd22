/** Frames of RFC 6455 as far as a benchmark needs them: whole messages, in one frame each. */
import { constants, deflateRawSync } from 'node:zlib'

const TEXT = 0x81 // FIN, opcode 1
const MASKED = 0x80
const COMPRESSED = 0x40 // RSV1
const MASK = Buffer.from([0x5a, 0xc3, 0x17, 0x9e])

/** Bytes in front of a payload of `size` bytes, without those of the mask. */
export function headerSize (size: number): number {
  if (size < 126) return 2
  return size < 65536 ? 4 : 10
}

function header (size: number, masked: 0 | typeof MASKED): Buffer {
  const bytes = Buffer.alloc(headerSize(size))
  bytes[0] = TEXT
  bytes[1] = masked | (bytes.length === 2 ? size : bytes.length === 4 ? 126 : 127)
  if (bytes.length === 4) bytes.writeUInt16BE(size, 2)
  if (bytes.length === 10) bytes.writeBigUInt64BE(BigInt(size), 2)
  return bytes
}

/** A text message as a server sends it. */
export function serverFrame (payload: Buffer): Buffer {
  return Buffer.concat([header(payload.length, 0), payload])
}

/** A text message as a client sends it. */
export function clientFrame (payload: Buffer): Buffer {
  return Buffer.concat([header(payload.length, MASKED), MASK, masked(payload, MASK)])
}

/** The same, compressed without regard to what came before (RFC 7692, section 7.2.1): it may be sent again and again. */
export function compressedFrame (payload: Buffer): Buffer {
  const frame = clientFrame(deflateRawSync(payload, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4))
  frame[0] = TEXT | COMPRESSED
  return frame
}

/** Masks a payload, or unmasks it: it is the same. */
export function masked (payload: Buffer, mask: Buffer): Buffer {
  return Buffer.from(payload.map((byte, at) => byte ^ mask.readUInt8(at % 4)))
}

/** The length of the payload, where the header is complete; else `null`. */
export function payloadSize (bytes: Buffer): number | null {
  const second = bytes[1]
  if (second === undefined) return null
  const short = second & 0x7f
  if (short < 126) return short
  if (bytes.length < (short === 126 ? 4 : 10)) return null
  return short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2))
}

/** Counts the frames of a server in chunks that begin and end anywhere. */
export class FrameCounter {
  readonly #header = Buffer.alloc(10)
  #headerBytes = 0
  #payloadLeft = 0

  /** How many frames this chunk completes. */
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

/** Text of `size` bytes, another one for every seed, and the same one for the same seed. */
export function sampleText (size: number, seed: number): Buffer {
  let state = (seed + 1) * 2654435761 >>> 0
  let text = ''
  while (text.length < size) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    text += `${WORDS[(state >>> 16) % WORDS.length]} `
  }
  return Buffer.from(text.slice(0, size))
}

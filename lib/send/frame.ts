import { Buffer } from 'node:buffer'

/** The size of the header, in bytes, of a frame that is not masked (RFC 6455, section 5.2). */
export function headerSize (payloadSize: number): number {
  if (payloadSize < 126) return 2
  return payloadSize < 65_536 ? 4 : 10
}

/** Writes the header of a message that is one frame, as a server sends it, and returns where its payload begins. */
export function writeHeader (target: Buffer, offset: number, isBinary: boolean, payloadSize: number): number {
  target[offset] = isBinary ? 0x82 : 0x81
  if (payloadSize < 126) {
    target[offset + 1] = payloadSize
    return offset + 2
  }
  if (payloadSize < 65_536) {
    target[offset + 1] = 126
    return target.writeUInt16BE(payloadSize, offset + 2)
  }
  target[offset + 1] = 127
  target.writeUInt16BE(0, offset + 2)
  return target.writeUIntBE(payloadSize, offset + 4, 6)
}

/** The largest ASCII text, in bytes, that is joined to its header and to other frames. Copying a larger one into memory is faster. */
export const MAX_JOINED = 256

const TEXT_HEADERS = Array.from({ length: MAX_JOINED + 1 }, (_, size) => {
  const header = Buffer.allocUnsafe(headerSize(size))
  writeHeader(header, 0, false, size)
  return header.toString('latin1')
})

/** Frames an ASCII text of at most `MAX_JOINED` characters. Each character of the result stands for one byte, as in latin1. */
export function textFrame (data: string): string {
  return TEXT_HEADERS[data.length] as string + data // there is a header for each length
}

/** Writes a message as one frame, text for a string and binary for bytes, and returns where the next one begins. */
export function writeFrame (target: Buffer, offset: number, data: string | Buffer, payloadSize: number): number {
  const start = writeHeader(target, offset, typeof data !== 'string', payloadSize)
  if (typeof data !== 'string') target.set(data, start)
  else if (data.length === payloadSize) target.write(data, start, 'latin1') // with one byte a character it is ASCII, and this is faster
  else target.write(data, start, 'utf8')
  return start + payloadSize
}

/** Reads back the messages of frames that were written here. Bytes are not copied. */
export function * readFrames (frames: Buffer): Generator<string | Buffer> {
  for (let at = 0; at < frames.length;) {
    const size = readPayloadSize(frames, at)
    const start = at + headerSize(size)
    const payload = frames.subarray(start, start + size)
    yield frames[at] === 0x82 ? payload : payload.toString()
    at = start + size
  }
}

function readPayloadSize (frames: Buffer, at: number): number {
  const size = frames[at + 1] as number // a frame has two bytes at least
  if (size < 126) return size
  return size === 126 ? frames.readUInt16BE(at + 2) : frames.readUIntBE(at + 4, 6)
}

/**
 * A larger frame has memory of its own, in bytes. A smaller one comes from Buffer's pool, of which it may keep 8 KiB in memory, so it
 * is copied where it has to wait.
 */
export const MAX_POOLED = 1024

/** A message for many connections, which is framed once for all that take frames. Its bytes are copied here, and may be changed afterwards. */
export class Publication {
  readonly data: string | Buffer
  /** The size of the payload, in bytes. */
  readonly size: number
  #frame: Buffer | undefined
  #latin1: string | undefined
  #before = ''
  #joined: string | undefined

  constructor (data: string | Buffer) {
    this.size = Buffer.byteLength(data)
    this.#frame = typeof data === 'string' ? undefined : framed(data, this.size)
    this.data = this.#frame?.subarray(headerSize(this.size)) ?? data
  }

  /** Joins its frame to others, in a string as `textFrame` makes one. This is done once for all connections that have gathered the same. */
  joinedTo (frames: string): string {
    if (this.#joined === undefined || frames !== this.#before) {
      this.#latin1 ??= this.frame.toString('latin1')
      this.#before = frames
      this.#joined = frames + this.#latin1
    }
    return this.#joined
  }

  get frame (): Buffer {
    this.#frame ??= framed(this.data, this.size)
    return this.#frame
  }
}

function framed (data: string | Buffer, payloadSize: number): Buffer {
  const size = headerSize(payloadSize) + payloadSize
  const frame = size > MAX_POOLED ? Buffer.allocUnsafeSlow(size) : Buffer.allocUnsafe(size)
  writeFrame(frame, 0, data, payloadSize)
  return frame
}

/** Bytes before the payload, in a frame that is not masked (RFC 6455, section 5.2). */
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

/** Writes a message as one frame, text for a string and binary for bytes, and returns where the next one begins. */
export function writeFrame (target: Buffer, offset: number, data: string | Buffer, payloadSize: number): number {
  const start = writeHeader(target, offset, typeof data !== 'string', payloadSize)
  if (typeof data !== 'string') target.set(data, start)
  else if (data.length === payloadSize) target.write(data, start, 'latin1') // one byte a character: it is ASCII, and this is faster
  else target.write(data, start, 'utf8')
  return start + payloadSize
}

/** A message for many: framed once, for those who take it as a frame. Bytes may be changed once this is made. */
export class Publication {
  readonly data: string | Buffer
  /** Of the payload, in bytes. */
  readonly size: number
  #frame: Buffer | undefined

  constructor (data: string | Buffer) {
    this.size = Buffer.byteLength(data)
    this.#frame = typeof data === 'string' ? undefined : framed(data, this.size)
    this.data = this.#frame?.subarray(headerSize(this.size)) ?? data
  }

  get frame (): Buffer {
    this.#frame ??= framed(this.data, this.size)
    return this.#frame
  }
}

function framed (data: string | Buffer, payloadSize: number): Buffer {
  const frame = Buffer.allocUnsafe(headerSize(payloadSize) + payloadSize)
  writeFrame(frame, 0, data, payloadSize)
  return frame
}

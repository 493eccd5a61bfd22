// The header of a frame (RFC 6455, section 5.2)

// Opcodes of messages
export const CONTINUATION = 0x0
export const TEXT = 0x1
export const BINARY = 0x2

// The first byte of frames without reserved bits: FIN and the opcode
export const FIN = 0x80
export const WHOLE_TEXT = FIN | TEXT
export const WHOLE_BINARY = FIN | BINARY
export const CLOSE = FIN | 0x8
export const PING = FIN | 0x9
export const PONG = FIN | 0xa

/** The bit of the second byte that says that the payload is masked. */
export const MASKED = 0x80

/** The size of the longest header, in bytes: two, eight for the size of the payload, and four for the mask. */
export const MAX_HEADER = 14

/** Stands in place of a size where the bytes end within the header. */
export const CUT = -1

/** The size in bytes of the header that begins at a place, with its mask, or `CUT`. */
export function headerSize (bytes: Buffer, at: number): number {
  if (at + 2 > bytes.length) return CUT
  const second = bytes[at + 1]!
  const short = second & 127
  const size = (short < 126 ? 2 : short === 126 ? 4 : 10) + (second < MASKED ? 0 : 4)
  return at + size > bytes.length ? CUT : size
}

/** The size of the payload in bytes. The header must be there as a whole. */
export function payloadSize (bytes: Buffer, at: number): number {
  const short = bytes[at + 1]! & 127
  if (short < 126) return short
  if (short === 126) return bytes[at + 2]! << 8 | bytes[at + 3]!
  return bytes.readUInt32BE(at + 2) * 2 ** 32 + bytes.readUInt32BE(at + 6)
}

/** The size of the payload where the header may be cut: 0 if the bytes end before the size does. The first two bytes must be there. */
export function knownSize (bytes: Buffer): number {
  const short = bytes[1]! & 127
  const needed = short < 126 ? 2 : short === 126 ? 4 : 10
  return bytes.length < needed ? 0 : payloadSize(bytes, 0)
}

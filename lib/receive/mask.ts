/** What `unmask()` returns is below this if all bytes are ASCII. */
export const NOT_ASCII = 0x80

/** A payload of fewer bytes is unmasked byte by byte, because preparing the words would take longer. */
export const MIN_WORDS = 48

// Memory for one mask, as bytes and as a word
const maskBytes = new Uint8Array(4)
const maskWord = new Int32Array(maskBytes.buffer)

/** Reads the mask at a place. Its first byte is in the lowest bits. */
export function readMask (bytes: Buffer, at: number): number {
  return bytes[at]! | bytes[at + 1]! << 8 | bytes[at + 2]! << 16 | bytes[at + 3]! << 24
}

/** Reads a mask and sets it to zeros, so that the frame means the same to whoever else reads it once its payload is unmasked. */
export function takeMask (bytes: Buffer, at: number): number {
  const mask = readMask(bytes, at)
  bytes[at] = bytes[at + 1] = bytes[at + 2] = bytes[at + 3] = 0
  return mask
}

/** The mask of the rest of a payload, after so many bytes of it. */
export function rotated (mask: number, count: number): number {
  const bits = (count & 3) * 8
  return bits === 0 ? mask : mask >>> bits | mask << (32 - bits)
}

/** The memory that the bytes are a part of, as words of four bytes. */
export function wordsOf (bytes: Buffer): Int32Array {
  return new Int32Array(bytes.buffer, 0, bytes.buffer.byteLength >> 2)
}

/**
 * Takes the mask off a payload, in place (RFC 6455, section 5.3).
 * @returns a number of at least `NOT_ASCII` if any of the bytes is not ASCII
 */
export function unmask (bytes: Buffer, start: number, end: number, mask: number): number {
  return end - start < MIN_WORDS ? unmaskBytes(bytes, start, end, mask) : unmaskWords(bytes, start, end, mask, wordsOf(bytes))
}

/** The same, byte by byte. */
export function unmaskBytes (bytes: Buffer, start: number, end: number, mask: number): number {
  const [a, b, c, d] = [mask & 255, mask >>> 8 & 255, mask >>> 16 & 255, mask >>> 24]
  let bits = 0
  let at = start
  for (; at + 3 < end; at += 4) bits |= (bytes[at]! ^= a) | (bytes[at + 1]! ^= b) | (bytes[at + 2]! ^= c) | (bytes[at + 3]! ^= d)
  if (at < end) bits |= bytes[at]! ^= a
  if (at + 1 < end) bits |= bytes[at + 1]! ^= b
  if (at + 2 < end) bits |= bytes[at + 2]! ^= c
  return bits
}

/** The same, word by word. @param words what `wordsOf()` returns for the bytes */
export function unmaskWords (bytes: Buffer, start: number, end: number, mask: number, words: Int32Array): number {
  const base = bytes.byteOffset
  const first = (base + start + 3) >> 2
  const last = (base + end) >> 2
  const aligned = (first << 2) - base // where the first word begins
  const rest = rotated(mask, aligned - start)
  for (let i = 0; i < 4; i++) maskBytes[i] = rest >>> (i * 8)
  const word = maskWord[0]!
  let bits = 0
  let i = first
  for (; i + 3 < last; i += 4) bits |= (words[i]! ^= word) | (words[i + 1]! ^= word) | (words[i + 2]! ^= word) | (words[i + 3]! ^= word)
  for (; i < last; i++) bits |= words[i]! ^= word
  const isAscii = (bits & 0x80808080) === 0
  return unmaskBytes(bytes, start, aligned, mask) | unmaskBytes(bytes, (last << 2) - base, end, rest) | (isAscii ? 0 : NOT_ASCII)
}

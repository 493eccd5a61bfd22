/** A payload below this size, in bytes, is left to `ws`, because there is nothing to gain. */
const MIN_SIZE = 32

/** The first bytes of a header, up to this many, say how long the frame is (RFC 6455, section 5.2). */
const SIZED_HEADER = 10

/** In place of a payload's size: the read ends within the header. */
const CUT = -1

// A mask, rotated so that it begins where a word of memory begins
const mask = new Uint8Array(4)
const maskWord = new Int32Array(mask.buffer)

/** How a read begins: with this many more bytes of a frame that began before, or with the rest of a header that began with these bytes. */
export type Rest = number | Buffer

/**
 * Takes the masks off the frames of a client, word by word, because `ws` would do it byte by byte. A frame that is in this read as a
 * whole becomes the same frame with a mask of zeros (RFC 6455, section 5.3), with which `ws` has no work; any other frame stays as it
 * is. So the read still means the same, whatever `ws` makes of it.
 * @param chunk the next read. It is changed in place
 * @param rest what this function returned for the read before, or 0 for the first
 * @returns how the next read begins
 */
export function unmask (chunk: Buffer, rest: Rest): Rest {
  let at = rest === 0 ? 0 : firstFrame(chunk, rest)
  if (typeof at !== 'number') return at
  let words: Int32Array | undefined
  while (at < chunk.length) {
    const size = payloadSize(chunk, at)
    if (size === CUT) return Buffer.from(chunk.subarray(at))
    const start = startOfPayload(chunk, at)
    const end = start + size
    if (size >= MIN_SIZE && end <= chunk.length && isMasked(chunk, at)) {
      words ??= new Int32Array(chunk.buffer, 0, chunk.buffer.byteLength >> 2)
      unmaskPayload(chunk, start, end, words)
    }
    at = end
  }
  return at - chunk.length
}

/**
 * Finds the end of the first frame in a read, which may have begun in the read before.
 * @param rest how the read begins
 * @returns where the frame ends, which may be beyond the read; or the beginning of its header, if the read ends within that
 */
export function firstFrame (chunk: Buffer, rest: Rest): Rest {
  if (typeof rest === 'number') return rest > 0 ? rest : endOfFrame(chunk)
  const end = endOfFrame(Buffer.concat([rest, chunk.subarray(0, SIZED_HEADER)]))
  return typeof end === 'number' ? end - rest.length : end
}

function endOfFrame (bytes: Buffer): Rest {
  const size = payloadSize(bytes, 0)
  return size === CUT ? Buffer.from(bytes) : startOfPayload(bytes, 0) + size
}

function isMasked (bytes: Buffer, at: number): boolean {
  return bytes[at + 1]! > 127
}

function payloadSize (bytes: Buffer, at: number): number {
  if (at + 2 > bytes.length) return CUT
  const size = bytes[at + 1]! & 127
  if (size < 126) return size
  if (size === 126) return at + 4 > bytes.length ? CUT : bytes.readUInt16BE(at + 2)
  return at + SIZED_HEADER > bytes.length ? CUT : bytes.readUInt32BE(at + 2) * 2 ** 32 + bytes.readUInt32BE(at + 6)
}

function startOfPayload (bytes: Buffer, at: number): number {
  const size = bytes[at + 1]! & 127
  const sized = size < 126 ? 2 : size === 126 ? 4 : SIZED_HEADER
  return at + sized + (isMasked(bytes, at) ? 4 : 0)
}

/** @param words the memory that the bytes are a part of */
function unmaskPayload (bytes: Buffer, start: number, end: number, words: Int32Array): void {
  const base = bytes.byteOffset
  const from = start - 4
  const unaligned = -(base + start) & 3
  for (let i = 0; i < 4; i++) mask[i] = bytes[from + ((i + unaligned) & 3)]!
  for (let at = start; at < start + unaligned; at++) bytes[at]! ^= bytes[at - 4]!
  const word = maskWord[0]!
  const last = (base + end) >> 2
  for (let i = (base + start + unaligned) >> 2; i < last; i++) words[i]! ^= word
  for (let i = 0, at = (last << 2) - base; at < end; i++, at++) bytes[at]! ^= mask[i]!
  bytes.fill(0, from, start)
}

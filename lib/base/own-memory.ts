/** Copies bytes, so that they can wait without keeping a whole read alive. Bytes that are most of their memory are returned as they are. */
export function inOwnMemory (bytes: Buffer): Buffer {
  if (bytes.length * 5 >= bytes.buffer.byteLength * 4) return bytes
  const copy = Buffer.allocUnsafeSlow(bytes.length) // not from Node's pool, of which it would keep 8 KiB alive
  bytes.copy(copy)
  return copy
}

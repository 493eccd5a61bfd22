/** The same bytes in memory of their own, unless they are nearly all of their memory. So they can wait without keeping a whole read alive. */
export function inOwnMemory (bytes: Buffer): Buffer {
  if (bytes.length * 5 >= bytes.buffer.byteLength * 4) return bytes
  const copy = Buffer.allocUnsafeSlow(bytes.length) // not from Node's pool, of which it would keep 8 KiB alive
  bytes.copy(copy)
  return copy
}

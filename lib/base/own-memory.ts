/** Whether bytes keep much more memory alive than they have themselves, so that copying them is worth it. */
export function isSmallPart (length: number, memory: number): boolean {
  return length * 5 < memory * 4
}

/** Copies bytes, so that they can wait without keeping a whole read alive. Bytes that are most of their memory are returned as they are. */
export function inOwnMemory (bytes: Buffer): Buffer {
  if (!isSmallPart(bytes.length, bytes.buffer.byteLength)) return bytes
  const copy = Buffer.allocUnsafeSlow(bytes.length) // not from Node's pool, of which it would keep 8 KiB alive
  bytes.copy(copy)
  return copy
}

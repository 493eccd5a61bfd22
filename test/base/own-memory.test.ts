import t from 'tap'
import { inOwnMemory } from '../../lib/base/own-memory.js'

t.test('bytes that are a small part of their memory are copied, into memory of just their size', async (t) => {
  const read = Buffer.from(new ArrayBuffer(1000)).fill('r')
  for (const size of [0, 1, 500, 799]) {
    const bytes = read.subarray(100, 100 + size)
    const copy = inOwnMemory(bytes)
    t.ok(copy.equals(bytes))
    t.equal(copy.buffer.byteLength, size)
  }
})

t.test('bytes that are nearly all of their memory stay where they are', async (t) => {
  const read = Buffer.from(new ArrayBuffer(1000))
  for (const size of [800, 1000]) {
    const bytes = read.subarray(0, size)
    t.equal(inOwnMemory(bytes), bytes)
  }
})

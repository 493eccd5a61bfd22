import fc from 'fast-check'
import t from 'tap'
import { MIN_WORDS, NOT_ASCII, readMask, rotated, unmask, unmaskBytes, unmaskWords, wordsOf } from '../../lib/receive/mask.js'

type Unmask = (bytes: Buffer, start: number, end: number, mask: number) => number

const WAYS: Record<string, { unmask: Unmask, minSize: number }> = {
  'unmask()': { unmask, minSize: 0 },
  'unmaskBytes()': { unmask: unmaskBytes, minSize: 0 },
  'unmaskWords()': { unmask: (bytes, start, end, mask) => unmaskWords(bytes, start, end, mask, wordsOf(bytes)), minSize: MIN_WORDS }
}

/** Where a payload may be: any alignment in its memory and in its read, and any place of the one byte that is not ASCII. */
const place = fc.record({
  size: fc.oneof(fc.nat(100), fc.constantFrom(0, 1, 2, 3, 46, 47, 48, 49, 63, 64, 65, 125, 126, 65_535, 65_536)),
  mask: fc.uint8Array({ minLength: 4, maxLength: 4 }),
  byteOffset: fc.nat(9),
  start: fc.nat(9),
  after: fc.nat(9),
  wide: fc.option(fc.nat())
})

/** A read in memory of its own, full of bytes that must stay, with the payload in it. */
function readWith (payload: Buffer, mask: Uint8Array, { byteOffset, start, after }: { byteOffset: number, start: number, after: number }): Buffer {
  const memory = Buffer.from(new ArrayBuffer(byteOffset + start + payload.length + after)).fill(0xee)
  const read = memory.subarray(byteOffset)
  for (const [i, byte] of payload.entries()) read[start + i] = byte ^ mask[i % 4]!
  return read
}

for (const [name, way] of Object.entries(WAYS)) {
  t.test(`${name} gives back the payload at every alignment, changes nothing around it, and tells whether all of it is ASCII`, async (t) => {
    fc.assert(fc.property(place, ({ size, mask, wide, ...where }) => {
      const payload = Buffer.from(Array.from({ length: Math.max(size, way.minSize) }, (_, i) => i * 31 & 0x7f))
      const isAscii = wide === null || payload.length === 0
      if (!isAscii) payload[wide % payload.length]! |= 0x80
      const read = readWith(payload, mask, where)
      const bits = way.unmask(read, where.start, where.start + payload.length, readMask(Buffer.from(mask), 0))
      if (!Buffer.from(read.buffer).equals(Buffer.from(readWith(payload, new Uint8Array(4), where).buffer))) throw new Error('other bytes')
      if ((bits < NOT_ASCII) !== isAscii) throw new Error(`${bits} for ${isAscii ? 'ASCII' : 'what is not ASCII'}`)
    }), { numRuns: 500 })
    t.pass('no counterexample')
  })
}

t.test('readMask() reads a mask at any place, and its first byte belongs to the first byte of the payload', async (t) => {
  const bytes = Buffer.from([9, 9, 9, 0x81, 0x02, 0x83, 0xf4])
  const payload = Buffer.alloc(6)
  unmask(payload, 0, 6, readMask(bytes, 3))
  t.same([...payload], [0x81, 0x02, 0x83, 0xf4, 0x81, 0x02])
})

t.test('rotated() is the mask of what follows, wherever a payload is cut', async (t) => {
  const mask = readMask(Buffer.from([0x81, 0x02, 0x83, 0xf4]), 0)
  const whole = Buffer.alloc(10)
  unmask(whole, 0, 10, mask)
  for (let cut = 0; cut <= 10; cut++) {
    const parts = Buffer.alloc(10)
    unmask(parts, 0, cut, mask)
    unmask(parts, cut, 10, rotated(mask, cut))
    t.same(parts, whole, `after ${cut} bytes`)
  }
})

import t from 'tap'
import { CUT, headerSize, MAX_HEADER, payloadSize } from '../../lib/receive/frame-header.js'
import { frame } from '../fixtures/frames.js'

/** Of a payload, of the header without a mask, and of the number in it where that has more bytes than it needs. */
const SIZES: [size: number | bigint, header: number, sizeBytes?: 2 | 8][] = [
  [0, 2], [1, 2], [125, 2], [126, 4], [0x1234, 4], [65_535, 4], [65_536, 10], [2 ** 32 - 1, 10], [2 ** 32 + 5, 10], [2 ** 53, 10],
  [2n ** 64n - 1n, 10], [5, 4, 2], [5, 10, 8], [0x1234, 10, 8]
]

/** Headers three bytes into a read, with more around them that looks like the header of a large masked frame. */
const HEADERS = SIZES.flatMap(([declaredSize, header, sizeBytes]) => [false, true].map((isMasked) => {
  const bytes = Buffer.concat([Buffer.alloc(3, 0xff), frame('', { declaredSize, isMasked, ...sizeBytes && { sizeBytes } }), Buffer.alloc(2, 0xff)])
  return { name: `${declaredSize} bytes, ${isMasked ? 'masked' : 'unmasked'}`, bytes, declaredSize, size: header + (isMasked ? 4 : 0) }
}))

t.test('headerSize() and payloadSize() read every form of a size, with a mask and without', async (t) => {
  for (const { name, bytes, declaredSize, size } of HEADERS) {
    t.equal(headerSize(bytes, 3), size, name)
    t.equal(payloadSize(bytes, 3), Number(declaredSize), name)
    t.ok(size <= MAX_HEADER, name)
  }
})

t.test('headerSize() tells that the bytes end within the header, wherever they do', async (t) => {
  for (const { name, bytes, size } of HEADERS) {
    for (let length = 0; length < size; length++) t.equal(headerSize(bytes.subarray(0, 3 + length), 3), CUT, `${name}: ${length} of ${size}`)
    t.equal(headerSize(bytes.subarray(0, 3 + size), 3), size, name)
  }
})

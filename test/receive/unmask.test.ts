import fc from 'fast-check'
import t from 'tap'
import { firstFrame, unmask, type Rest } from '../../lib/receive/unmask.js'
import { frame, readAllFrames } from '../fixtures/frames.js'

/** The frames in the bytes, and where they are. */
function framesOf (bytes: Buffer) {
  let start = 0
  return readAllFrames(bytes).map(({ mask, payload, size }) => {
    const end = start + size
    const found = { mask, payload, start, end }
    start = end
    return found
  })
}

function binaryFrame (size: number, mask: Uint8Array | null, seed: number): Buffer {
  const payload = Buffer.from(Array.from({ length: size }, (_, i) => i * 31 + seed))
  return frame(payload, { opcode: 2, ...(mask === null ? { isMasked: false } : { mask }) })
}

const stream = fc.record({
  frames: fc.array(fc.record({
    size: fc.oneof(fc.nat(300), fc.constantFrom(0, 1, 31, 32, 33, 125, 126, 127, 65_535, 65_536, 70_000)),
    mask: fc.option(fc.uint8Array({ minLength: 4, maxLength: 4 }), { freq: 10 }),
    seed: fc.nat(255)
  }), { minLength: 1, maxLength: 20 }),
  cuts: fc.array(fc.nat(), { maxLength: 20 }),
  offset: fc.nat(9) // where a read begins in its memory
})

/** What the reads say afterwards, together, and where they were cut. */
function readAll (bytes: Buffer, cuts: number[], offset: number): { after: Buffer, places: number[] } {
  const places = [0, ...cuts.map((cut) => cut % bytes.length).sort((a, b) => a - b), bytes.length]
  let rest: Rest = 0
  const chunks = places.slice(1).map((to, i) => {
    const part = bytes.subarray(places[i], to)
    const chunk = Buffer.from(new ArrayBuffer(offset + part.length + 3)).subarray(offset, offset + part.length)
    part.copy(chunk)
    if (chunk.length > 0) rest = unmask(chunk, rest)
    return chunk
  })
  return { after: Buffer.concat(chunks), places }
}

t.test('unmask() keeps every payload however the bytes are split, and takes the masks off frames that are whole in one read', (t) => {
  let unmasked = 0
  fc.assert(fc.property(stream, ({ frames, cuts, offset }) => {
    const bytes = Buffer.concat(frames.map(({ size, mask, seed }) => binaryFrame(size, mask, seed)))
    const { after, places } = readAll(bytes, cuts, offset)
    const [before, now] = [framesOf(bytes), framesOf(after)]
    if (now.length !== before.length) throw new Error('there are other frames')
    for (const [i, { mask, payload, start, end }] of now.entries()) {
      const old = before[i]!
      if (!payload.equals(old.payload) || (mask === null) !== (old.mask === null) || start !== old.start || end !== old.end) throw new Error(`frame ${i} says something else`)
      const isWhole = !places.some((place) => start < place && place < end)
      if (isWhole && payload.length >= 32) {
        if (mask?.some((byte) => byte !== 0)) throw new Error(`frame ${i} is masked still`)
        unmasked++
      } else if (!after.subarray(start, end).equals(bytes.subarray(start, end))) {
        throw new Error(`frame ${i} was to be left alone`)
      }
    }
  }), { numRuns: 1000 })
  t.ok(unmasked > 1000)
  t.end()
})

t.test('firstFrame() finds the end of every frame however the bytes are split', (t) => {
  fc.assert(fc.property(stream, ({ frames, cuts }) => {
    const bytes = Buffer.concat(frames.map(({ size, mask, seed }) => binaryFrame(size, mask, seed)))
    const ends = framesOf(bytes).map(({ end }) => end)
    const places = [...cuts.map((cut) => cut % bytes.length), bytes.length].sort((a, b) => a - b)
    const found: number[] = []
    let rest: Rest = 0
    for (let at = 0; at < bytes.length;) {
      const chunk = bytes.subarray(at, places.find((place) => place > at))
      const end: Rest = firstFrame(chunk, rest)
      const isThere = typeof end === 'number' && end <= chunk.length
      at += isThere ? end : chunk.length
      if (isThere) found.push(at)
      rest = typeof end === 'number' ? Math.max(0, end - chunk.length) : end
    }
    if (found.join() !== ends.join()) throw new Error(`found ${found}`)
  }), { numRuns: 1000 })
  t.pass('no counterexample')
  t.end()
})

t.test('unmask() does not throw on bytes that are no frames', (t) => {
  fc.assert(fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 100 }), { maxLength: 50 }), (chunks) => {
    chunks.reduce<Rest>((rest, chunk) => unmask(Buffer.from(chunk), rest), 0)
  }), { numRuns: 3000 })
  t.pass('nothing is thrown')
  t.end()
})

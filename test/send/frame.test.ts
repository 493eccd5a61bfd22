import t from 'tap'
import { MAX_POOLED, Publication, readFrames, writeFrame } from '../../lib/send/frame.js'

t.test('readFrames() gives back what writeFrame() wrote, of every size of header', (t) => {
  const messages = ['', 'text', 'zwölf →', Buffer.from([0xff]), 'x'.repeat(125), 'x'.repeat(126), Buffer.alloc(65_535, 1), Buffer.alloc(65_536, 2), 'x'.repeat(100_000)]
  const frames = Buffer.alloc(400_000)
  const end = messages.reduce((at, message) => writeFrame(frames, at, message, Buffer.byteLength(message)), 0)
  t.same([...readFrames(frames.subarray(0, end))], messages)
  t.end()
})

t.test('a publication that is not copied where it has to wait has memory of its own', (t) => {
  for (const data of ['x'.repeat(MAX_POOLED), Buffer.alloc(MAX_POOLED)]) {
    const { frame } = new Publication(data)
    t.equal(frame.buffer.byteLength, frame.length)
  }
  t.end()
})

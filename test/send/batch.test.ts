import t from 'tap'
import { Batch } from '../../lib/send/batch.js'
import { Publication, readFrames } from '../../lib/send/frame.js'

const messagesOf = (batch: Batch) => [...readFrames(batch.take())]

t.test('a batch keeps messages in order, as bytes of its own', (t) => {
  const batch = new Batch(true)
  const read = Buffer.from('what was read with it')
  const bytes = read.subarray(5, 8)
  const { frame } = new Publication('published')
  batch.add('zwölf', 6)
  batch.add(bytes, 3)
  batch.addFrame(frame, 9)
  for (let i = 0; i < 100; i++) batch.add('x'.repeat(i), i)
  t.match(batch, { count: 103, payloadSize: 6 + 3 + 9 + 4950 })
  read.fill('!')
  frame.fill(0)
  t.same(messagesOf(batch), ['zwölf', Buffer.from('was'), 'published', ...Array.from({ length: 100 }, (_, i) => 'x'.repeat(i))])
  t.end()
})

t.test('a batch costs little more than its frames, whatever its messages are a part of', (t) => {
  const small = new Batch(true)
  small.add('x', 1)
  t.ok(small.cost <= 2048, `${small.cost} bytes for one byte`)
  const large = new Batch(true)
  for (let i = 0; i < 900; i++) large.add('x'.repeat(50), 50)
  t.ok(large.cost <= 2048 + 2 * large.size, `${large.cost} bytes for ${large.size}`)
  const whole = new Batch(true)
  whole.add(Buffer.alloc(100_000), 100_000)
  t.ok(whole.cost <= 2048 + whole.size, `${whole.cost} bytes for ${whole.size}`)
  for (const batch of [small, large, whole]) {
    const { cost } = batch
    t.ok(batch.take().buffer.byteLength <= cost, 'the memory is no more than what is counted')
  }
  t.end()
})

t.test('a batch takes what has the same compression and fits', (t) => {
  const batch = new Batch(true)
  batch.add('x', 1)
  t.equal(batch.hasRoomFor(1, false, 1000), false)
  t.equal(batch.hasRoomFor(993, true, 1000), false)
  t.equal(batch.hasRoomFor(992, true, 1000), true)
  for (let i = 1; i < 1024; i++) batch.add('', 0)
  t.equal(batch.hasRoomFor(0, true, 1000_000), false)
  t.end()
})

t.test('a frame that is shared is not copied', (t) => {
  const batch = new Batch(true)
  const { frame } = new Publication('x'.repeat(2000))
  batch.shareFrame(frame, 2000)
  t.match(batch, { count: 1, payloadSize: 2000, size: frame.length })
  t.equal(batch.take().buffer, frame.buffer)
  t.end()
})

t.test('the promise of an outcome resolves for everyone, whether it is asked for before or after', async (t) => {
  const batch = new Batch(true)
  const before = batch.promise
  t.equal(batch.promise, before, 'one promise for all')
  let settled = 0
  batch.onFinish = () => settled++
  batch.finish(true)
  t.equal(settled, 1)
  t.equal(await before, true)
})

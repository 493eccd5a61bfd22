import t from 'tap'
import { Publication, readFrames } from '../../lib/send/frame.js'
import { SendQueue } from '../../lib/send/send-queue.js'

const messagesOf = (queue: SendQueue) => [...queue].map((batch) => [...readFrames(batch.take())])

t.test('messages are in batches below the size, in order; one that can be deleted, or is shared, is alone', (t) => {
  const queue = new SendQueue(2000, 0)
  queue.add('a', 1, true, false)
  queue.add('b', 1, true, false)
  queue.addFrame(new Publication('c').frame, 1)
  const deleted = queue.add('d', 1, true, true)
  queue.add('e', 1, true, true)
  queue.add('f', 1, false, false)
  queue.add('g', 1, true, false)
  queue.addFrame(new Publication('h'.repeat(1500)).frame, 1500)
  queue.add('i'.repeat(1990), 1990, true, false)
  queue.add('j'.repeat(5000), 5000, true, false)
  queue.add('k', 1, true, false)
  t.match(queue, { count: 11, bytes: 8 + 1500 + 1990 + 5000 })
  t.equal(queue.delete(deleted), true)
  t.equal(queue.delete(deleted), false)
  t.equal(queue.count, 10)
  t.same(messagesOf(queue), [['a', 'b', 'c'], ['e'], ['f'], ['g'], ['h'.repeat(1500)], ['i'.repeat(1990)], ['j'.repeat(5000)], ['k']])
  t.end()
})

t.test('nothing is left of the sums when all batches were deleted, and no message joins one of them', (t) => {
  const queue = new SendQueue(64 * 1024, 100)
  for (let i = 0; i < 5000; i++) queue.add('x'.repeat(i % 300), i % 300, i % 1000 < 500, i % 10 === 0)
  queue.addFrame(new Publication('y').frame, 1)
  t.ok(queue.cost > queue.bytes + 5001 * 100, `${queue.cost} bytes for ${queue.bytes}`)
  for (const batch of queue) queue.delete(batch)
  t.match(queue, { count: 0, bytes: 0, cost: 0 })
  queue.add('z', 1, true, false)
  t.same(messagesOf(queue), [['z']])
  t.end()
})

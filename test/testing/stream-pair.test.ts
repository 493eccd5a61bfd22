import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { streamPair } from '../../lib/testing/stream-pair.js'

t.test('what is written to one end is read from the other, both ways, and counted there', async (t) => {
  const [near, far] = streamPair()
  near.write('hello')
  t.equal(String((await once(far, 'data'))[0]), 'hello')
  far.write('world!')
  t.equal(String((await once(near, 'data'))[0]), 'world!')
  t.equal(far.bytesRead, 5)
  t.equal(near.bytesRead, 6)
})

t.test('a chunk arrives in a later turn of the event loop', async (t) => {
  const [near, far] = streamPair()
  near.write('hello')
  await Promise.resolve()
  t.equal(far.readableLength, 0)
  await nextTurn()
  t.equal(far.readableLength, 5)
})

t.test('chunks that wait for a write arrive together', async (t) => {
  const [near, far] = streamPair()
  for (const text of ['a', 'b', 'c']) near.write(text)
  const chunks: string[] = []
  far.on('data', (chunk) => chunks.push(String(chunk)))
  while (chunks.join('') !== 'abc') await once(far, 'data')
  t.same(chunks, ['a', 'bc'])
})

t.test('a write waits while the other end does not read', async (t) => {
  const [near, far] = streamPair()
  let isWritten = false
  near.write(Buffer.alloc(far.readableHighWaterMark), () => { isWritten = true })
  await nextTurn()
  await nextTurn()
  t.equal(isWritten, false)
  far.resume()
  await nextTurn()
  t.equal(isWritten, true)
})

t.test('end() of one end is the end of the other, which can still write', async (t) => {
  const [near, far] = streamPair()
  far.resume()
  near.end('last words')
  await once(far, 'end')
  far.write('answer')
  t.equal(String((await once(near, 'data'))[0]), 'answer')
})

t.test('when one end is destroyed, reading from the other ends after what is on its way, and writing to it fails', async (t) => {
  const [near, far] = streamPair()
  near.write('last words')
  near.destroy()
  const chunks: string[] = []
  far.on('data', (chunk) => chunks.push(String(chunk)))
  await once(far, 'end')
  t.same(chunks, ['last words'])
  far.write('answer')
  t.match((await once(far, 'error'))[0], { code: 'EPIPE' })
})

t.test('a write that waits fails when the other end is destroyed', async (t) => {
  const [near, far] = streamPair()
  near.write(Buffer.alloc(far.readableHighWaterMark))
  await nextTurn()
  far.destroy()
  t.match((await once(near, 'error'))[0], { code: 'EPIPE' })
})

import t from 'tap'
import { Publication, readFrames } from '../../lib/send/frame.js'
import { Sender } from '../../lib/send/sender.js'
import { fakeClock } from '../fixtures/fake-clock.js'

/** A sender over a network of the test's: `flush` lets everything out that was handed over. */
function newSender ({ highWaterMark = 10, maxBufferedBytes = 10_000, messageCost = 0 } = {}) {
  const sent: (string | Buffer)[] = []
  const compressed: boolean[] = []
  const state = { isOpen: true, throws: false }
  let bufferedAmount = 0
  let callbacks: (() => void)[] = []
  const sender = new Sender({
    get bufferedAmount () { return bufferedAmount },
    get cost () { return bufferedAmount },
    get isOpen () { return state.isOpen },
    messageCost,
    sendBatch (batch, onFlushed) {
      if (state.throws) throw new Error('no room')
      const { compress } = batch
      const messages = [...readFrames(batch.take())]
      messages.forEach((data, i) => this.send(data, data.length, compress, i === messages.length - 1 ? onFlushed : undefined))
    },
    send (data, _size, compress, onFlushed) {
      sent.push(data)
      compressed.push(compress)
      bufferedAmount += data.length
      if (onFlushed !== undefined) callbacks.push(onFlushed)
    },
    publish ({ data }) { this.send(data, data.length, true) },
    offer (data, size, compress, room) {
      if (!state.isOpen || bufferedAmount + size >= room) return false
      this.send(data, size, compress)
      return true
    },
    flush () {}
  }, { highWaterMark, maxBufferedBytes })
  const flush = () => {
    bufferedAmount = 0
    const flushed = callbacks
    callbacks = []
    for (const callback of flushed) callback()
  }
  return { sender, sent, compressed, flush, state }
}

/** The value of a promise that has settled by now, else `'pending'`. */
async function now<T> (promise: Promise<T> | null): Promise<T | 'pending' | null> {
  await null
  return promise === null ? null : Promise.race([promise, Promise.resolve('pending' as const)])
}

t.test('send() resolves at once below the mark; the call that reaches it waits for room', async (t) => {
  const { sender, sent, flush } = newSender()
  t.equal(await now(sender.send('aaaaa', {})), true)
  const filler = sender.send('bbbbb', {})
  t.equal(await now(filler), 'pending')
  t.same(sent, ['aaaaa', 'bbbbb'])
  flush()
  t.equal(await filler, true)
})

t.test('while there is no room messages wait for their turn, in order', async (t) => {
  const { sender, sent, flush } = newSender()
  const calls = ['a'.repeat(10), 'bbb', 'ccc', 'd'.repeat(10)].map((data) => sender.send(data, {}))
  t.same(sent, ['a'.repeat(10)])
  t.equal(sender.bufferedBytes, 26)
  flush()
  t.same(sent.slice(1), ['bbb', 'ccc', 'd'.repeat(10)])
  t.same(await Promise.all(calls.slice(0, 3)), [true, true, true])
  t.equal(await now(calls[3] ?? null), 'pending')
  flush()
  t.equal(await calls[3], true)
})

t.test('a message for which too much is unsent is not taken, but one alone always is', async (t) => {
  const { sender, flush } = newSender({ maxBufferedBytes: 30 })
  const first = sender.send('a'.repeat(100), {})
  t.equal(sender.send('b', {}), null)
  flush()
  t.equal(await first, true)
  t.not(sender.send('b', {}), null)
})

t.test('timeout and signal cancel a message that waits for its turn, and only the waiting of one that was handed over', async (t) => {
  const clock = fakeClock(t)
  const { sender, sent, flush } = newSender()
  const controller = new AbortController()
  const { signal } = controller
  const filler = sender.send('a'.repeat(10), { timeout: 50 })
  const timed = sender.send('timed', { timeout: 50 })
  const aborted = sender.send('abort', { signal })
  const kept = sender.send('kept', { timeout: 100, signal: new AbortController().signal })
  t.equal(await now(sender.send('polled', { timeout: 0 })), false)
  controller.abort()
  clock.tick(50)
  t.same(await Promise.all([filler, timed, aborted]), [true, false, false])
  t.equal(sender.bufferedBytes, 14)
  flush()
  t.equal(await kept, true)
  t.same(sent, ['a'.repeat(10), 'kept'])
  t.equal(clock.countTimers(), 0)
})

t.test('handOver() hands everything over, in order, and every call is settled', async (t) => {
  const { sender, sent } = newSender()
  const calls = ['a'.repeat(10), 'b', 'c'].map((data) => sender.send(data, {}))
  sender.handOver()
  t.same(sent, ['a'.repeat(10), 'b', 'c'])
  t.same(await Promise.all(calls), [true, true, true])
})

t.test('end() settles every call, and counts what was never handed over', async (t) => {
  const { sender, sent } = newSender()
  const calls = ['a'.repeat(10), 'b', 'c'].map((data) => sender.send(data, {}))
  sender.end(false)
  t.same(await Promise.all(calls), [false, false, false])
  t.equal(sender.lost, 2)
  t.same(sent, ['a'.repeat(10)])
  t.equal(await sender.send('late'), false)
  sender.end(true)
  t.equal(sender.lost, 2, 'the second time nothing changes')
  t.same(sent, ['a'.repeat(10)])
})

t.test('end(true) hands over what waits, and loses nothing', async (t) => {
  const { sender, sent } = newSender()
  const calls = ['a'.repeat(10), 'b', 'c'].map((data) => sender.send(data, {}))
  sender.end(true)
  t.same(await Promise.all(calls), [true, true, true])
  t.equal(sender.lost, 0)
  t.same(sent, ['a'.repeat(10), 'b', 'c'])
})

t.test('end(true) settles every call, though the transport throws', async (t) => {
  const { sender, state } = newSender()
  const calls = ['a'.repeat(10), 'b', 'c'].map((data) => sender.send(data, {}))
  state.throws = true
  t.throws(() => sender.end(true), /no room/)
  t.same(await Promise.all(calls), [true, false, false])
  t.equal(await sender.send('late'), false)
})

t.test('a message is not sent once the socket is not open, though the sender has not ended', async (t) => {
  const { sender, sent, state } = newSender()
  state.isOpen = false
  t.equal(await sender.send('a'), false)
  t.same(sent, [])
})

t.test('a message larger than maxBufferedBytes is sent at once below highWaterMark, where nothing waits', async (t) => {
  const { sender, sent } = newSender({ highWaterMark: 100, maxBufferedBytes: 10 })
  t.equal(await sender.send('a'.repeat(50)), true)
  t.equal(sender.send('b'), null)
  t.same(sent, ['a'.repeat(50)])
})

t.test('a publication keeps its place among the calls that wait, and nobody waits for it', async (t) => {
  const { sender, sent, flush } = newSender()
  t.equal(sender.publish(new Publication('aaaaa')), true)
  const filler = sender.send('bbbbb')
  t.equal(sender.publish(new Publication('ccccc')), true)
  const last = sender.send('ddddd')
  t.same(sent, ['aaaaa', 'bbbbb'])
  t.equal(sender.bufferedBytes, 20)
  flush()
  t.equal(await filler, true)
  flush()
  t.equal(await last, true)
  t.same(sent, ['aaaaa', 'bbbbb', 'ccccc', 'ddddd'])
})

t.test('publish() refuses a publication where too much is unsent, and never where nothing is', (t) => {
  const { sender, sent } = newSender({ highWaterMark: 10, maxBufferedBytes: 30 })
  t.equal(sender.publish(new Publication('x'.repeat(40))), true)
  t.equal(sender.publish(new Publication('y')), false)
  t.equal(sent.length, 1)
  t.end()
})

t.test('messages that wait count with their memory: tiny ones reach the bound long before their bytes do', (t) => {
  for (const { messageCost, least } of [{ messageCost: 0, least: 50_000 }, { messageCost: 500, least: 0 }]) {
    const { sender } = newSender({ highWaterMark: 1000, maxBufferedBytes: 1_000_000, messageCost })
    sender.send('x'.repeat(1000))
    let count = 0
    while (sender.send('x') !== null) count++
    t.ok(count >= least, `${count} messages are in a million bytes`)
    t.ok(count * (3 + messageCost) <= 1_000_000, `${count} messages are in a million bytes`)
    t.equal(sender.bufferedBytes, 1000 + count, 'the payloads alone')
  }
  t.end()
})

t.test('calls that cannot be cancelled wait together, and end together', async (t) => {
  const { sender, flush } = newSender({ highWaterMark: 1000, maxBufferedBytes: 1_000_000 })
  const filler = sender.send('x'.repeat(1000))
  const calls = ['a', 'b', 'c'].map((data) => sender.send(data))
  t.equal(new Set(calls).size, 1, 'one promise for all')
  t.not(sender.send('d', { timeout: 1000 }), calls[0])
  t.equal(await now(calls[0] ?? null), 'pending')
  flush()
  t.equal(await filler, true)
  t.equal(await calls[0], true)
})

t.test('bytes that wait may be changed, and strings keep nothing that they are a part of', async (t) => {
  const { sender, sent, flush } = newSender({ highWaterMark: 10, maxBufferedBytes: 1_000_000 })
  sender.send('x'.repeat(10))
  const bytes = Buffer.from('bytes')
  sender.send(bytes, {})
  bytes.fill('!')
  flush()
  t.same(sent.slice(1).map(String), ['bytes'])
})

t.test('a batch reaches the transport with its compression', async (t) => {
  const { sender, compressed, flush } = newSender()
  sender.send('x'.repeat(10))
  sender.send('a', { compress: false })
  sender.send('b', { compress: true })
  flush()
  t.same(compressed, [true, false, true])
})

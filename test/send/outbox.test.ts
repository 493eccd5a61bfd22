import { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import t from 'tap'
import { Batch } from '../../lib/send/batch.js'
import { Publication } from '../../lib/send/frame.js'
import { Outbox } from '../../lib/send/outbox.js'
import { readAllFrames } from '../fixtures/frames.js'

/**
 * An outbox over a stream without a network: `writes` has what was taken, and `stall()` keeps the stream from taking more. With
 * `isKept` the stream keeps the memory it is given, as one does that hands it on.
 */
function newOutbox (stream: Duplex, isKept = false) {
  const writes: Buffer[] = []
  const given: Buffer[] = []
  const isText: boolean[] = []
  let release: (() => void)[] | undefined
  Object.assign(stream, { _writev: null }) // a socket's own would go to the system
  stream._write = (data: string | Buffer, encoding, done) => {
    const chunk = typeof data === 'string' ? Buffer.from(data, encoding) : data
    const take = () => {
      writes.push(isKept ? chunk : Buffer.from(chunk))
      done()
    }
    given.push(chunk)
    isText.push(typeof data === 'string')
    if (release === undefined) take()
    else release.push(take)
  }
  const count = { readyState: 1, isBatching: false, gathered: undefined, bufferedAmount: 0, sentMessages: 0, sentBytes: 0 }
  const outbox = new Outbox(count, stream)
  return {
    writes,
    given,
    isText,
    count,
    outbox,
    stream,
    send: (data: string | Buffer, onFlushed?: () => void) => outbox.send(data, Buffer.byteLength(data), true, onFlushed),
    stall: () => { release = [] },
    goOn: () => {
      const waiting = release ?? []
      release = undefined
      for (const take of waiting) take()
    }
  }
}

const turn = () => new Promise<void>((resolve) => { setImmediate(resolve) })

/** The messages in what was written. */
function payloads (writes: Buffer[]): string[] {
  return readAllFrames(Buffer.concat(writes)).map(({ opcode, payload }) => `${opcode === 1 ? 'text' : 'binary'} ${payload.toString()}`)
}

for (const [name, newStream] of [['a socket', () => new Socket()], ['another stream', () => new Duplex({ read () {} })]] as const) {
  t.test(`over ${name} the first goes out at once, and what follows in that turn goes out together`, async (t) => {
    const { writes, send, count } = newOutbox(newStream())
    send('first')
    t.same(payloads(writes), ['text first'])
    send('zwölf')
    send(Buffer.from('three'))
    send('x'.repeat(300))
    t.equal(writes.length, 1)
    await turn()
    t.equal(writes.length, 2)
    t.same(payloads(writes), ['text first', 'text zwölf', 'binary three', `text ${'x'.repeat(300)}`])
    t.match(count, { sentMessages: 4, sentBytes: 5 + 6 + 5 + 300 })
  })
}

t.test('while the socket is batching, the first message waits for the others', async (t) => {
  const { writes, send, outbox, count } = newOutbox(new Socket())
  count.isBatching = true
  send('a')
  send('b')
  t.equal(outbox.bufferedAmount, 6)
  await turn()
  t.equal(writes.length, 1)
  t.equal(outbox.bufferedAmount, 0)
  count.isBatching = false
  send('c')
  t.equal(writes.length, 2)
})

t.test('a call that waits for room has everything before it written', async (t) => {
  const { writes, send } = newOutbox(new Socket())
  send('a')
  send('b')
  const flushed = new Promise<void>((resolve) => send('c', resolve))
  t.same(payloads(writes), ['text a', 'text b', 'text c'])
  await flushed
  t.equal(writes.length, 2)
})

t.test('bytes may be changed after the call, up to the size at which they are no longer copied', async (t) => {
  const { writes, given, send } = newOutbox(new Socket())
  send('first')
  const small = Buffer.from('small')
  send(small)
  small.fill('!')
  const large = Buffer.alloc(20_000, 'x')
  send(large)
  t.same(payloads(writes.slice(0, 2)), ['text first', 'binary small'], 'what was gathered goes first')
  t.equal(given[3]?.buffer, large.buffer)
  t.equal(given[3]?.byteOffset, large.byteOffset)
})

t.test('memory that the network has not taken yet is not written to again', async (t) => {
  const { writes, send, stall, goOn } = newOutbox(new Socket())
  stall()
  send('aaaa')
  await turn()
  send('bbbb')
  await turn()
  const { writes: others, send: sendOther } = newOutbox(new Socket())
  sendOther('cccc')
  await turn()
  goOn()
  await turn()
  t.same(payloads(writes), ['text aaaa', 'text bbbb'])
  t.same(payloads(others), ['text cccc'])
})

const LONG = 40_000 // too long for Node's pool

t.test('memory that the network took at once serves the next long write', async (t) => {
  const { given, writes, send } = newOutbox(new Socket())
  for (const letter of ['a', 'b']) {
    send(letter.repeat(LONG))
    await turn()
  }
  t.equal(given[0]?.buffer, given[1]?.buffer)
  t.equal(given[0]?.byteOffset, given[1]?.byteOffset)
  t.same(payloads(writes), ['a', 'b'].map((letter) => `text ${letter.repeat(LONG)}`))
})

for (const size of [4, LONG]) {
  t.test(`sockets that take nothing keep no more memory than what waits in them, in writes of ${size} bytes`, async (t) => {
    const sockets = Array.from({ length: 100 }, () => newOutbox(new Socket()))
    for (const [i, { send, stall }] of sockets.entries()) {
      stall()
      send(`${i}`.padEnd(size, '.'))
    }
    const kept = new Set(sockets.map(({ given: [bytes] }) => bytes!.buffer))
    const bytes = [...kept].reduce((sum, { byteLength }) => sum + byteLength, 0)
    t.ok(bytes <= 100 * size * 1.5 + 256 * 1024, `${bytes} bytes`)
    for (const { goOn } of sockets) goOn()
    t.same(sockets.flatMap(({ writes }) => payloads(writes)), sockets.map((_, i) => `text ${`${i}`.padEnd(size, '.')}`))
  })

  t.test(`a socket for TLS, which takes nothing at once, has no more memory than what is written, in writes of ${size} bytes`, async (t) => {
    const { given, writes, send, stall, goOn } = newOutbox(new TLSSocket(new Socket()))
    for (let i = 0; i < 100; i++) {
      stall()
      send(`${i}`.padEnd(size, '.'))
      await turn()
      goOn()
    }
    const bytes = [...new Set(given.map(({ buffer }) => buffer))].reduce((sum, { byteLength }) => sum + byteLength, 0)
    t.ok(bytes <= 100 * (size + 10) + 128 * 1024, `${bytes} bytes`)
    t.same(payloads(writes), Array.from({ length: 100 }, (_, i) => `text ${`${i}`.padEnd(size, '.')}`))
  })
}

t.test('a short write that the network does not take keeps no memory of long ones', async (t) => {
  const shorts: Buffer[] = []
  for (let i = 0; i < 50; i++) {
    const [short, long] = [newOutbox(new Socket()), newOutbox(new Socket())]
    short.stall()
    long.stall()
    short.send('short')
    long.send('x'.repeat(60_000))
    shorts.push(...short.given)
  }
  const bytes = [...new Set(shorts.map(({ buffer }) => buffer))].reduce((sum, { byteLength }) => sum + byteLength, 0)
  t.ok(bytes <= 2 * Buffer.poolSize, `${bytes} bytes`)
})

t.test('a socket in which bytes wait has no more memory than they need', async (t) => {
  const { given, send, stall, goOn } = newOutbox(new Socket())
  stall()
  for (let i = 0; i < 20; i++) {
    send('x'.repeat(50_000))
    await turn()
  }
  goOn()
  const bytes = [...new Set(given.map(({ buffer }) => buffer))].reduce((sum, { byteLength }) => sum + byteLength, 0)
  t.ok(bytes < 20 * 50_010 + 128 * 1024, `${bytes} bytes`)
})

t.test('memory is not shared with a stream that may hand it on', async (t) => {
  class SocketOfOthers extends Socket {}
  for (const stream of [new Duplex({ read () {} }), new TLSSocket(new Socket()), new SocketOfOthers()]) {
    const { writes, send } = newOutbox(stream, true)
    for (const letter of ['a', 'b']) {
      send(letter)
      await turn()
      send(letter.repeat(LONG))
      await turn()
    }
    t.same(payloads(writes), ['a', 'b'].flatMap((letter) => [`text ${letter}`, `text ${letter.repeat(LONG)}`]))
  }
})

t.test('more than 64 KiB goes out in several writes, in order', async (t) => {
  const { writes, send } = newOutbox(new Socket())
  writes.length = 0
  const sent = Array.from({ length: 50 }, (_, i) => `${i} `.padEnd(7_000, '.'))
  for (const data of sent) send(data)
  await turn()
  t.ok(writes.length > 3 && writes.length < 10, String(writes.length))
  t.ok(writes.every((write) => write.length < 80 * 1024))
})

t.test('a long publication that goes out alone is written as it is, to all alike', async (t) => {
  const text = '→'.repeat(1000)
  const publication = new Publication(text)
  const [one, other] = [newOutbox(new Socket()), newOutbox(new Socket())]
  one.outbox.publish(publication)
  other.outbox.publish(publication)
  t.equal(one.outbox.bufferedAmount, publication.frame.length)
  await turn()
  t.same(payloads(one.writes), [`text ${text}`])
  t.equal(one.given[0]?.buffer, other.given[0]?.buffer, 'the same memory')
  t.equal(one.given[0]?.byteOffset, other.given[0]?.byteOffset)
  t.match(one.count, { sentMessages: 1, sentBytes: 3000 })
  t.equal(one.outbox.bufferedAmount, 0)
})

t.test('short publications reach all alike, whatever else each has gathered', async (t) => {
  const outboxes = Array.from({ length: 4 }, () => newOutbox(new Socket()))
  const publications = [new Publication('a'), new Publication('zwölf'), new Publication(Buffer.from([0, 128, 255])), new Publication('')]
  for (const [i, publication] of publications.entries()) {
    for (const { outbox } of outboxes) outbox.publish(publication)
    outboxes[i]?.send('own')
  }
  await turn()
  const published = ['text a', 'text zwölf', `binary ${Buffer.from([0, 128, 255])}`, 'text ']
  for (const [i, { writes }] of outboxes.entries()) t.same(payloads(writes), published.toSpliced(i + 1, 0, 'text own'))
  t.same(outboxes.map(({ writes }) => writes.length), [1, 1, 1, 1])
})

t.test('short texts of ASCII go to a socket as one string; what has to wait does not, because the string would keep its parts', async (t) => {
  const { isText, writes, send, stall, goOn } = newOutbox(new Socket())
  const texts = ['', 'b', 'c'.repeat(125), 'd'.repeat(126), 'e'.repeat(256)]
  send('a')
  for (const text of texts) send(text)
  await turn()
  t.same(payloads(writes), ['text a', ...texts.map((text) => `text ${text}`)])
  t.same(isText, [true, true])
  for (let i = 0; i < 200; i++) send('x'.repeat(100)) // V8 would copy so long a string once more
  await turn()
  t.same(isText.splice(2), [false])
  stall()
  send('taken, and not written yet')
  await turn()
  send('waits')
  await turn()
  goOn()
  await turn()
  t.same(isText, [true, true, true, false])
  t.equal(payloads(writes).at(-1), 'text waits')
})

t.test('texts of every kind and size, and bytes, keep their order', async (t) => {
  const { writes, send, outbox } = newOutbox(new Socket())
  const sent = Array.from({ length: 300 }, (_, i) => ['a', 'ü', '→', 'x'][i % 4]!.repeat(i * i % 700))
  for (const [i, text] of sent.entries()) {
    if (i % 5 === 0) send(Buffer.from(text))
    else if (i % 7 === 0) outbox.publish(new Publication(text))
    else send(text)
    if (i % 50 === 0) await turn()
  }
  await turn()
  t.same(payloads(writes), sent.map((text, i) => `${i % 5 === 0 ? 'binary' : 'text'} ${text}`))
})

t.test('if a stream throws, the others are written all the same', async (t) => {
  const [first, failing, last] = [newOutbox(new Socket()), newOutbox(new Socket()), newOutbox(new Socket())]
  failing.stream.write = () => { throw new Error('no') }
  const nextTicks = t.capture(process, 'nextTick', () => {})
  for (const { count, send } of [first, failing, last]) {
    count.isBatching = true
    send('a')
  }
  nextTicks.restore()
  const calls = nextTicks()
  t.equal(calls.length, 1, 'one call for all')
  t.throws(() => calls[0]!.args[0](), { message: 'no' })
  await turn()
  t.same([first, failing, last].map(({ writes }) => payloads(writes)), [['text a'], [], ['text a']])
  last.send('b')
  await turn()
  t.same(payloads(last.writes), ['text a', 'text b'])
})

t.test('publications go out together with what else is sent in that turn, in order', async (t) => {
  const { outbox, send, writes, count } = newOutbox(new Socket())
  count.isBatching = true
  send('a')
  outbox.publish(new Publication('b'))
  outbox.publish(new Publication(Buffer.from('c')))
  send('d')
  await turn()
  t.equal(writes.length, 1)
  t.same(payloads(writes), ['text a', 'text b', 'binary c', 'text d'])
})

t.test('a large publication is not copied, and goes after what was gathered', async (t) => {
  const { outbox, writes, given } = newOutbox(new Socket())
  const large = new Publication('x'.repeat(60_000))
  outbox.publish(new Publication('a'))
  outbox.publish(large)
  t.same(payloads(writes), ['text a', `text ${'x'.repeat(60_000)}`])
  t.equal(given[1]?.buffer, large.frame.buffer)
})

t.test('a write that has to wait keeps no more memory than is counted', async (t) => {
  const { outbox, count, given, send, stall, goOn } = newOutbox(new Socket())
  stall()
  send('the network does not take this yet')
  for (let i = 0; i < 50; i++) {
    if (i % 2 === 0) send('x')
    else outbox.publish(new Publication('x'))
    await turn()
    count.bufferedAmount = 36 + 3 * (i + 1) // as ws counts what waits in the stream
  }
  t.ok(outbox.cost >= 50 * 100 && outbox.cost <= 50 * 1000, `${outbox.cost} bytes`)
  goOn()
  await turn()
  t.equal(given.length, 51)
  t.ok(given.slice(1).every(({ length, buffer }) => buffer.byteLength === length), 'none is a part of the pool of Buffer')
  count.bufferedAmount = 0
  t.equal(outbox.cost, 0)
})

t.test('messages that have waited go out in one write, after what was gathered', async (t) => {
  const { outbox, writes, send, count } = newOutbox(new Socket())
  const batch = new Batch(true)
  for (const data of ['b', 'c', 'd']) batch.add(data, 1)
  send('first')
  send('a')
  const flushed = new Promise<void>((resolve) => outbox.sendBatch(batch, resolve))
  t.same(writes.length, 3)
  t.same(payloads(writes), ['text first', 'text a', 'text b', 'text c', 'text d'])
  await flushed
  t.match(count, { sentMessages: 5, sentBytes: 5 + 1 + 3 })
})

t.test('bytes that were published may be changed', (t) => {
  const bytes = Buffer.from('as it was')
  const publication = new Publication(bytes)
  bytes.fill('!')
  t.equal(String(publication.data), 'as it was')
  t.equal(publication.frame.toString('utf8', 2), 'as it was')
  t.end()
})

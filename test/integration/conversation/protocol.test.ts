import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { deflateRawSync } from 'node:zlib'
import t, { type Test } from 'tap'
import type { CloseInfo } from '../../../index.js'
import { buildApp, listen, type Options } from '../../fixtures/app.js'
import { deferred } from '../../fixtures/deferred.js'
import { compressed, deflate, DEFLATE, fragments, inflate, RSV1 } from '../../fixtures/deflate.js'
import { measureMemory, MiB } from '../../fixtures/memory.js'
import { randomNumbers } from '../../fixtures/random.js'
import { closeFrame, connectRaw, frame, handshake, openRaw, type Frame, type RawClient } from '../../fixtures/raw-client.js'

// The classes of cases of the Autobahn test suite (https://github.com/crossbario/autobahn-testsuite), and some beyond

const [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] = [0, 1, 2, 8, 9, 10] as const
const ping = (payload: string | Buffer = '') => frame(payload, { opcode: PING })
const repeat = (count: number, bytes: Buffer) => Buffer.concat(Array<Buffer>(count).fill(bytes))
const bytesOf = (hex: string) => Buffer.from(hex, 'hex')

interface Conversation {
  client: RawClient
  /** What the handler received. */
  received: string[]
  ended: Promise<CloseInfo>
}

/** An app that echoes, with a second connection as the witness that others are not harmed. */
async function startEcho (t: Test, options: Options = {}) {
  const app = await buildApp(t, options)
  const conversations = new Map<string, { received: string[], end: ReturnType<typeof deferred<CloseInfo>> }>()
  app.get('/:id', async (request) => {
    const { received, end } = conversations.get((request.params as { id: string }).id)!
    const ws = await request.getWebSocketAsync()
    for await (const message of ws) {
      received.push(message.getString('latin1'))
      await ws.sendAsync(message.isBinary ? message.bytes : message.getString())
    }
    end.resolve(await ws.closed)
  })
  app.get('/idle', async (request) => {
    const { received, end } = conversations.get('idle')!
    const ws = await request.getWebSocketAsync()
    const info = await ws.closed
    for await (const { length } of ws) received.push(`${length} bytes`)
    end.resolve(info)
  })
  const port = await listen(app)
  const announce = (id: string) => {
    const conversation = { received: [] as string[], end: deferred<CloseInfo>() }
    conversations.set(id, conversation)
    return { received: conversation.received, ended: conversation.end.promise }
  }
  const open = async (t: Test, { id = `${conversations.size}`, headers = {} } = {}): Promise<Conversation> => {
    const conversation = announce(id)
    return { ...conversation, client: await openRaw(t, port, `/${id}`, headers) }
  }
  const witness = await open(t, { id: 'witness' })
  const assertUnharmed = async (t: Test) => {
    witness.client.write(frame('still here'))
    t.equal(await witness.client.text(), 'still here', 'another connection is not harmed')
  }
  return { port, announce, open, assertUnharmed }
}

async function frames (client: RawClient, count: number): Promise<Frame[]> {
  const heard: Frame[] = []
  while (heard.length < count) heard.push(await client.frame())
  return heard
}

// Not `t.match`, for which every string matches ''
function assertEnd (t: Test, info: CloseInfo, expected: Partial<CloseInfo>, error?: typeof Error): void {
  t.hasStrict(info, expected)
  if (error === undefined) t.notOk('error' in info, 'no error')
  else t.type(info.error, error)
}

/** The client broke the protocol: what both sides see then. */
async function assertViolation (t: Test, { client, ended }: Conversation, code: number): Promise<void> {
  t.same(await client.close(), { code, reason: '' })
  assertEnd(t, await ended, { code, reason: '', cause: 'protocol-error', wasClean: false, unread: 0, unsent: 0 }, Error)
  await client.closed
}

/** In MiB. */
interface Growth {
  peak: number
  left: number
}

/** The most that was in use while something ran, beyond what was in use before, and what is left of it, in MiB. */
async function measurePeak (run: () => Promise<void>): Promise<Growth> {
  const before = await measureMemory()
  let peak = 0
  const timer = setInterval(() => {
    const { heapUsed, external } = process.memoryUsage()
    peak = Math.max(peak, heapUsed + external - before.used)
  }, 1)
  await run().finally(() => clearInterval(timer))
  const after = await measureMemory()
  return { peak: peak / MiB, left: (after.used - before.used) / MiB }
}

function assertMemory (t: Test, { peak, left }: Growth, bound: Growth): void {
  t.comment(`memory: peak +${peak.toFixed(1)} MiB, left +${left.toFixed(1)} MiB`)
  t.ok(peak < bound.peak, `${peak} MiB at the most`)
  t.ok(left < bound.left, `${left} MiB left`)
}

t.test('a message comes back as it was', async (t) => {
  const { open, assertUnharmed } = await startEcho(t)
  const { client } = await open(t)
  for (const opcode of [TEXT, BINARY]) {
    for (const length of [0, 125, 126, 127, 128, 65_535, 65_536]) {
      const payload = opcode === TEXT ? Buffer.alloc(length, '*') : Buffer.alloc(length, Buffer.from([0, 0xff, 0x80]))
      client.write(frame(payload, { opcode }))
      t.strictSame(await client.frame(), { opcode, payload }, `opcode ${opcode}, ${length} bytes`)
    }
  }
  for (const text of ['κόσμε', '\ufeffmarked', '\u0000', '\uffff', '\u{10ffff}', 'Hello-µ@ßöäüàá-UTF-8!!']) {
    client.write(frame(text))
    t.equal(await client.text(), text)
  }
  await assertUnharmed(t)
})

t.test('a fragmented message is whole, and control frames within it are answered at once', async (t) => {
  const { open, assertUnharmed } = await startEcho(t)
  const { client, received } = await open(t)
  for (const opcode of [TEXT, BINARY]) {
    const [first, second, third] = fragments(['one ', '', 'three'], { opcode }) as [Buffer, Buffer, Buffer]
    client.write(first, ping('1'))
    t.strictSame(await client.frame(), { opcode: PONG, payload: Buffer.from('1') })
    client.write(second, ping(), frame('unasked for', { opcode: PONG }), ping(Buffer.alloc(125, 0xfe)))
    t.strictSame(await frames(client, 2), [{ opcode: PONG, payload: Buffer.alloc(0) }, { opcode: PONG, payload: Buffer.alloc(125, 0xfe) }])
    client.write(third)
    t.strictSame(await client.frame(), { opcode, payload: Buffer.from('one three') })
  }
  t.same(received, ['one three', 'one three'])

  const letters = [...'a message in many parts'.repeat(10)]
  client.write(...fragments(letters).flatMap((fragment, i) => [fragment, ...i % 20 === 19 ? [ping(`${i}`)] : []]))
  const heard = await frames(client, 12)
  t.same(heard.map(({ opcode }) => opcode), [...Array(11).fill(PONG), TEXT])
  t.equal(String(heard[11]?.payload), letters.join(''))
  await assertUnharmed(t)
})

t.test('a code point may be split across fragments', async (t) => {
  const { open } = await startEcho(t)
  const { client } = await open(t)
  const text = Buffer.from('κ€\u{1f600}')
  for (let i = 0; i <= text.length; i++) {
    client.write(...fragments([text.subarray(0, i), text.subarray(i)]))
    t.equal(await client.text(), String(text))
  }
  client.write(...fragments([...text].map((byte) => Buffer.from([byte]))))
  t.equal(await client.text(), String(text))
})

const beyondSafe = (hex: string) => Buffer.concat([Buffer.from([0x80 | BINARY, 0xff]), bytesOf(hex), Buffer.alloc(4)])
const rawClose = (payload: Buffer) => frame(payload, { opcode: CLOSE })

const invalidText = {
  'a lone byte': 'ff',
  'a lone continuation byte': '80',
  'a truncated code point': 'e282',
  'a surrogate': 'eda080',
  'an overlong form': 'c0af',
  'a code point above U+10FFFF': 'f4908080',
  'a sequence of five bytes': 'f888808080'
}

const violations: { name: string, bytes: Buffer[], code: number }[] = [
  ...[CLOSE, PING, PONG].flatMap((opcode) => [
    { name: `a fragmented control frame, opcode ${opcode}`, bytes: [frame('', { opcode, fin: false })], code: 1002 },
    { name: `a control frame of 126 bytes, opcode ${opcode}`, bytes: [frame(Buffer.alloc(126, 3), { opcode })], code: 1002 },
    { name: `a control frame of 65536 bytes, opcode ${opcode}`, bytes: [frame(Buffer.alloc(65_536, 3), { opcode })], code: 1002 }
  ]),
  { name: 'a continuation without a start', bytes: [frame('x', { opcode: CONTINUATION })], code: 1002 },
  { name: 'an unfinished continuation without a start', bytes: [frame('x', { opcode: CONTINUATION, fin: false })], code: 1002 },
  ...[TEXT, BINARY].flatMap((opcode) => [true, false].map((fin) => (
    { name: `a new data frame within a message, opcode ${opcode}, fin ${fin}`, bytes: [frame('a', { fin: false }), frame('b', { opcode, fin })], code: 1002 }
  ))),
  ...[1, 2, 3, 4, 5, 6, 7].flatMap((rsv) => [TEXT, BINARY, CLOSE, PING, PONG].map((opcode) => (
    { name: `reserved bits ${rsv}, opcode ${opcode}`, bytes: [frame('', { opcode, rsv })], code: 1002 }
  ))),
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode) => (
    { name: `the reserved opcode ${opcode}`, bytes: [frame('x', { opcode })], code: 1002 }
  )),
  ...[TEXT, BINARY, CLOSE, PING, PONG].map((opcode) => (
    { name: `a frame without a mask, opcode ${opcode}`, bytes: [frame('', { opcode, isMasked: false })], code: 1002 }
  )),
  { name: 'a length of 2^53', bytes: [beyondSafe('0020000000000000')], code: 1009 },
  { name: 'a length of 2^53 - 1', bytes: [beyondSafe('001fffffffffffff')], code: 1009 },
  { name: 'a length with its first bit set', bytes: [beyondSafe('8000000000000000')], code: 1009 },
  ...Object.entries(invalidText).flatMap(([name, hex]) => [
    { name: `text with ${name}`, bytes: [frame(Buffer.concat([Buffer.from('κ'), bytesOf(hex)]))], code: 1007 },
    { name: `text with ${name}, in fragments`, bytes: fragments([...bytesOf(hex)].map((byte) => Buffer.from([byte])).concat(Buffer.alloc(0))), code: 1007 },
    { name: `a close reason with ${name}`, bytes: [rawClose(Buffer.concat([bytesOf('03e8'), bytesOf(hex)]))], code: 1007 }
  ]),
  ...[0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535].map((code) => (
    { name: `the close code ${code}`, bytes: [closeFrame(code, 'reason')], code: 1002 }
  )),
  { name: 'a close frame of one byte', bytes: [rawClose(Buffer.from([3]))], code: 1002 },
  { name: 'a message above maxPayload', bytes: [frame(Buffer.alloc(70_001), { opcode: BINARY })], code: 1009 },
  { name: 'a fragmented message above maxPayload', bytes: fragments(Array<Buffer>(8).fill(Buffer.alloc(10_000)), { opcode: BINARY }), code: 1009 },
  { name: 'more fragments than ws takes', bytes: [frame('', { fin: false }), repeat(20_000, frame('', { opcode: CONTINUATION, fin: false }))], code: 1008 } // maxFragments: 16384
]

t.test('a client that breaks the protocol', async (t) => {
  const { open, assertUnharmed } = await startEcho(t, { maxPayload: 70_000 })
  for (const { name, bytes, code } of violations) {
    t.test(`${name}: ${code}`, async (t) => {
      const conversation = await open(t)
      const { client, received } = conversation
      client.write(frame('before'))
      t.equal(await client.text(), 'before')
      client.write(...bytes, frame('after'), ping('after'), closeFrame(1000))
      await assertViolation(t, conversation, code)
      t.same(received, ['before'], 'nothing that follows is received')
      await assertUnharmed(t)
    })
  }
})

t.test('what came before a violation, in the same write, is received and answered, and a ping is answered at once', async (t) => {
  const { open } = await startEcho(t)
  const conversation = await open(t)
  conversation.client.write(frame('a'), ping('b'), frame('c'), frame('', { rsv: 1 }), frame('d'))
  t.strictSame(await conversation.client.frame(), { opcode: PONG, payload: Buffer.from('b') })
  t.equal(await conversation.client.text(), 'a')
  t.equal(await conversation.client.text(), 'c')
  await assertViolation(t, conversation, 1002)
  t.same(conversation.received, ['a', 'c'])
})

t.test('a client that breaks the protocol and does not leave is cut off after closeTimeout', async (t) => {
  const { open, assertUnharmed } = await startEcho(t, { closeTimeout: 50 })
  const { client, ended } = await open(t)
  client.socket.pause() // so it does not see the end of the server's side, and keeps its own
  client.write(frame('', { opcode: 3 }))
  assertEnd(t, await ended, { code: 1002, reason: '', cause: 'protocol-error', wasClean: false }, Error)
  await assertUnharmed(t)
})

t.test('a violation in place of the answer to our close frame ends the connection with our code', async (t) => {
  const app = await buildApp(t)
  const ended = deferred<CloseInfo>()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    ended.resolve(await ws.closeAsync(4000, 'enough'))
  })
  const client = await openRaw(t, await listen(app), '/')
  t.same(await client.close(), { code: 4000, reason: 'enough' })
  client.write(closeFrame(999))
  assertEnd(t, await ended.promise, { code: 4000, reason: 'enough', cause: 'local', wasClean: false }, Error)
})

t.test('a close frame is answered with what it holds', async (t) => {
  const { open, assertUnharmed } = await startEcho(t)
  const reason = 'é'.repeat(61) + '!' // 123 bytes
  for (const code of [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]) {
    const { client, ended, received } = await open(t)
    client.write(closeFrame(code, reason), frame('after'), ping('after'))
    t.same(await client.close(), { code, reason })
    assertEnd(t, await ended, { code, reason, cause: 'peer', wasClean: true, unread: 0, unsent: 0 })
    t.same(received, [])
  }
  const { client, ended } = await open(t)
  client.write(...fragments(['never ', 'finished']).slice(0, 1), closeFrame(1000))
  t.same(await client.close(), { code: 1000, reason: '' })
  assertEnd(t, await ended, { code: 1000, reason: '', cause: 'peer', wasClean: true, unread: 0 })
  await assertUnharmed(t)
})

t.test('with compression', async (t) => {
  const maxPayload = 70_000
  const { open, assertUnharmed } = await startEcho(t, { compression: true, maxPayload })
  const bomb = deflate(Buffer.alloc(maxPayload + 1))

  t.test('a message comes back as it was', async (t) => {
    const { client } = await open(t, { headers: DEFLATE })
    for (const length of [0, 1, 125, 126, 127, 1023, 1024, 65_535, 65_536, maxPayload]) {
      for (const opcode of [TEXT, BINARY]) {
        const data = opcode === TEXT ? Buffer.alloc(length, 'compressible ') : Buffer.from(Array.from({ length }, (_, i) => i * i >> 3 & 0xff))
        const parts = [0, 0.25, 0.75, 1].map((part) => Math.floor(deflate(data).length * part))
        const pieces = parts.slice(1).map((end, i) => deflate(data).subarray(parts[i], end))
        for (const bytes of [[compressed(data, opcode)], [frame(data, { opcode })], fragments(pieces, { opcode, rsv: RSV1 })]) {
          client.write(...bytes)
          const { payload, ...rest } = await client.frame()
          t.strictSame(rest, length < 1024 ? { opcode } : { opcode, rsv: RSV1 }) // ws: it does not pay below
          t.ok((rest.rsv === RSV1 ? inflate(payload) : payload).equals(data), `opcode ${opcode}, ${length} bytes`)
        }
      }
    }
    await assertUnharmed(t)
  })

  t.test('a message comes back as it was, compressed with what came before it', async (t) => {
    const { client } = await open(t, { headers: { 'Sec-WebSocket-Extensions': 'permessage-deflate' } })
    const messages = ['one', 'two two two', 'one', '', 'two two two'.repeat(500), 'one']
    client.write(...messages.map((message) => compressed(message)))
    const heard = await frames(client, messages.length)
    t.ok(heard.every(({ opcode, rsv }) => opcode === TEXT && rsv === RSV1))
    t.equal(String(inflate(...heard.map(({ payload }) => payload))), messages.join(''))
  })

  t.test('a stream that ends with its message does not end the connection', async (t) => {
    const { client } = await open(t, { headers: DEFLATE })
    const final = Buffer.concat([deflateRawSync('final block'), Buffer.alloc(1)]) // RFC 7692, section 7.2.3.4
    client.write(frame(final, { rsv: RSV1 }), compressed('next'))
    t.same([await client.text(), await client.text()], ['final block', 'next'])
  })

  for (const { name, bytes, code } of [
    { name: 'a message that inflates above maxPayload', bytes: [frame(bomb, { rsv: RSV1 })], code: 1009 },
    { name: 'a fragmented message that inflates above maxPayload', bytes: fragments([bomb.subarray(0, 5), bomb.subarray(5)], { rsv: RSV1 }), code: 1009 },
    { name: 'a message that is no deflate stream', bytes: [frame(Buffer.alloc(10, 0xff), { rsv: RSV1 })], code: 1007 },
    { name: 'a message that inflates to invalid UTF-8', bytes: [compressed(Buffer.from([0xc0, 0xaf]))], code: 1007 },
    { name: 'a continuation marked as compressed', bytes: [frame('a', { fin: false }), frame('b', { opcode: CONTINUATION, rsv: RSV1 })], code: 1002 },
    { name: 'a ping marked as compressed', bytes: [frame('', { opcode: PING, rsv: RSV1 })], code: 1002 },
    { name: 'a close frame marked as compressed', bytes: [frame('', { opcode: CLOSE, rsv: RSV1 })], code: 1002 },
    { name: 'a reserved bit that no extension has', bytes: [frame(deflate('x'), { rsv: RSV1 | 2 })], code: 1002 }
  ]) {
    t.test(`${name}: ${code}`, async (t) => {
      const conversation = await open(t, { headers: DEFLATE })
      conversation.client.write(...bytes, compressed('after'), closeFrame(1000))
      await assertViolation(t, conversation, code)
      t.same(conversation.received, [])
      await assertUnharmed(t)
    })
  }
})

t.test('pings from the client', async (t) => {
  const { open, assertUnharmed } = await startEcho(t)
  const pings = (count: number, size: number) => Array.from({ length: count }, (_, i) => ping(`${i}`.padEnd(size)))

  for (const { count, size } of [{ count: 200, size: 0 }, { count: 200, size: 125 }, { count: 4096, size: 4 }, { count: 10_000, size: 125 }]) {
    t.test(`${count} of ${size} bytes in one write are all answered, in order`, async (t) => {
      const { client } = await open(t)
      client.write(...pings(count, size), frame('and this'))
      const heard = await frames(client, count + 1)
      t.equal(String(heard.pop()?.payload), 'and this')
      t.equal(heard.findIndex(({ opcode, payload }, i) => opcode !== PONG || parseInt(String(payload)) !== i), -1)
      await assertUnharmed(t)
    })
  }

  // One read holds more than the 4096 pongs that may be pending
  t.test('10000 without payload in one write are answered, or the connection is dropped', async (t) => {
    const { client, ended } = await open(t)
    client.write(repeat(10_000, ping()), frame('and this'))
    const info = await Promise.race([ended, frames(client, 10_001).catch(() => ended)])
    if (Array.isArray(info)) t.equal(String(info.at(-1)?.payload), 'and this')
    else assertEnd(t, info, { code: 1006, reason: '', wasClean: false, cause: 'terminated' }) // by ws
    t.comment(Array.isArray(info) ? 'all were answered' : 'the connection was dropped')
    await assertUnharmed(t)
  })

  t.test('a flood of them from a client that does not read ends its connection alone', async (t) => {
    const { client, ended } = await open(t)
    const burst = repeat(1000, ping(Buffer.alloc(125)))
    client.socket.pause()
    let bursts = 0
    const memory = await measurePeak(async () => {
      while (bursts < 1000 && !client.socket.destroyed) {
        bursts++
        if (!client.socket.write(burst)) await Promise.race([once(client.socket, 'drain').catch(() => {}), client.closed])
        if (bursts % 10 === 0) await assertUnharmed(t)
      }
      assertEnd(t, await ended, { code: 1006, reason: '', wasClean: false, cause: 'terminated', unread: 0, unsent: 0 })
    })
    t.comment(`ended after ${bursts} thousand`)
    assertMemory(t, memory, { peak: 64, left: 4 }) // the peak has garbage in it that a busy process collects late
    await assertUnharmed(t)
  })
})

t.test('endless empty fragments do not fill the memory', async (t) => {
  const { open, assertUnharmed } = await startEcho(t)
  const conversation = await open(t)
  const more = repeat(50_000, frame('', { opcode: CONTINUATION, fin: false }))
  const memory = await measurePeak(async () => {
    conversation.client.write(frame('', { fin: false }), more)
    await assertViolation(t, conversation, 1008)
  })
  assertMemory(t, memory, { peak: 16, left: 4 })
  await assertUnharmed(t)
})

t.test('a small frame that inflates to 100 MiB does not fill the memory', async (t) => {
  const { open, assertUnharmed } = await startEcho(t, { compression: true, maxPayload: MiB })
  const bomb = deflate(Buffer.alloc(100 * MiB))
  t.ok(bomb.length < MiB / 8, `${bomb.length} bytes`)
  for (const bytes of [frame(bomb, { rsv: RSV1 }), Buffer.concat(fragments([bomb.subarray(0, 50_000), bomb.subarray(50_000)], { rsv: RSV1 }))]) {
    const conversation = await open(t, { headers: DEFLATE })
    const memory = await measurePeak(async () => {
      conversation.client.write(bytes)
      await assertUnharmed(t)
      await assertViolation(t, conversation, 1009)
    })
    assertMemory(t, memory, { peak: 32, left: 4 })
    await assertUnharmed(t)
  }
})

t.test('small frames that inflate to 1 MiB each are held back from a handler that does not read', async (t) => {
  const { open, assertUnharmed } = await startEcho(t, { compression: true })
  const count = 400
  const bytes = repeat(count, compressed(Buffer.alloc(MiB), BINARY))
  t.ok(bytes.length < MiB / 2, `${bytes.length} bytes`)
  const { client } = await open(t, { id: 'idle', headers: DEFLATE })
  const other = await open(t, { headers: DEFLATE })
  const memory = await measurePeak(async () => {
    client.write(bytes)
    for (let i = 0; i < 20; i++) { // long enough for as many of the others to come
      other.client.write(compressed(Buffer.alloc(MiB), BINARY))
      await other.client.frame()
      other.received.pop()
    }
  })
  assertMemory(t, memory, { peak: 128, left: 4 }) // most of it is the other's
  await assertUnharmed(t)
})

/** Writes bytes in pieces of random sizes: mostly some tens of bytes, now and then one or some thousand. */
async function writeInPieces (client: RawClient, bytes: Buffer, random: () => number): Promise<void> {
  client.socket.setNoDelay(true)
  for (let at = 0; at < bytes.length;) {
    const size = 1 + Math.floor(10 ** (random() * 3.5))
    client.write(bytes.subarray(at, at += size))
    await nextTurn()
  }
}

for (const compression of [false, true]) {
  t.test(`how the bytes are split changes nothing, compression ${compression}`, async (t) => {
    const { port, announce, assertUnharmed } = await startEcho(t, { compression })
    const long = 'κόσμε '.repeat(200)
    const message = (data: string, opcode: number) => compression ? compressed(data, opcode) : frame(data, { opcode })
    const [first, ...rest] = compression
      ? fragments([deflate(long).subarray(0, 7), deflate(long).subarray(7)], { rsv: RSV1 })
      : fragments([long.slice(0, 7), '', long.slice(7)]) as [Buffer, ...Buffer[]]
    const bytes = [
      message('hello', TEXT), ping('1'), message('', BINARY), first as Buffer, ping('2'.repeat(125)), ...rest,
      message('x'.repeat(125), TEXT), message('y'.repeat(126), BINARY), ping(), message('é'.repeat(1500), TEXT)
    ]
    const data = ['hello', '', long, 'x'.repeat(125), 'y'.repeat(126), 'é'.repeat(1500)]
    const expected = {
      received: data.map((each) => Buffer.from(each).toString('latin1')),
      messages: data,
      pongs: ['1', '2'.repeat(125), ''],
      close: { code: 4000, reason: 'κόσμε' },
      end: { code: 4000, reason: 'κόσμε', wasClean: true, cause: 'peer', unread: 0, unsent: 0 }
    }
    const random = randomNumbers(20_260)

    for (let round = 0; round < 200; round++) {
      const id = `split-${round}`
      const { received, ended } = announce(id)
      const client = await connectRaw(t, port)
      await writeInPieces(client, Buffer.concat([Buffer.from(handshake(`/${id}`, compression ? DEFLATE : {})), ...bytes]), random)
      await client.head()
      const heard = await frames(client, data.length + expected.pongs.length)
      const messages = heard.filter(({ opcode }) => opcode !== PONG).map(({ payload, rsv }) => String(rsv === RSV1 ? inflate(payload) : payload))
      const pongs = heard.filter(({ opcode }) => opcode === PONG).map(({ payload }) => String(payload))
      await writeInPieces(client, closeFrame(4000, 'κόσμε'), random)
      t.strictSame({ received, messages, pongs, close: await client.close(), end: { ...await ended } }, expected, `round ${round}`)
      client.socket.destroy()
    }
    await assertUnharmed(t)
  })
}

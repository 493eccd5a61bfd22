import { text } from 'node:stream/consumers'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { createWebSocketStream, type WebSocket } from 'ws'
import type { AsyncWebSocket, CloseInfo } from '../../../index.js'
import { buildApp, listen, type Options } from '../../fixtures/app.js'
import { deferred } from '../../fixtures/deferred.js'
import { compressed, deflate, DEFLATE, fragments, RSV1 } from '../../fixtures/deflate.js'
import { MiB } from '../../fixtures/memory.js'
import { closeFrame, frame, openRaw, type RawClient } from '../../fixtures/raw-client.js'

const KiB = 1024
const BINARY = 2

// With either, ws finishes each message in a later turn of the event loop
const COMPRESSED: Options = { compression: true }
const DEFERRED: Options = { options: { allowSynchronousEvents: false } }

const sum = (sizes: number[]) => sizes.reduce((all, size) => all + size, 0)

/** An app on whose `/` nobody receives until `mayReceive`, and whose `/echo` echoes. */
async function startStalled (t: Test, options: Options) {
  const app = await buildApp(t, options)
  const [isPaused, mayReceive] = [deferred(), deferred()]
  const ended = deferred<{ received: number[], info: CloseInfo }>()
  const arrived: number[] = [] // sizes of what ws has emitted
  let connection: AsyncWebSocket | undefined
  app.get('/', async (request) => {
    const ws = connection = await request.getWebSocketAsync()
    ws.tryReceive() // or messages would go to the listener alone
    ws.socket.on('message', (data: Buffer) => {
      arrived.push(data.length)
      if (ws.socket.isPaused) isPaused.resolve()
    })
    ws.socket.on('close', () => isPaused.resolve())
    await mayReceive.promise
    const received: number[] = []
    for await (const { length } of ws) received.push(length)
    ws.closed.then((info) => ended.resolve({ received, info }))
  })
  app.get('/echo', async (request) => {
    const ws = await request.getWebSocketAsync()
    for await (const { length } of ws) await ws.sendAsync(String(length))
  })
  const port = await listen(app)
  // Messages as large as any, so that ws has finished the others once these are answered
  const passTime = async () => {
    const client = await openRaw(t, port, '/echo', DEFLATE)
    for (let i = 0; i < 10; i++) {
      client.write(options.compression === true ? compressed(Buffer.alloc(MiB), BINARY) : frame(Buffer.alloc(MiB), { opcode: BINARY }))
      t.equal(await client.text(), String(MiB))
    }
    client.socket.destroy()
  }
  const open = () => openRaw(t, port, '/', DEFLATE)
  return { app, open, arrived, passTime, isPaused: isPaused.promise, receive: () => mayReceive.resolve(), ended: ended.promise, connection: () => connection! }
}

for (const { name, options, sizes, most } of [
  { name: '5 MiB, of the 16 MiB that maxPayload allows', options: { maxPayload: 16 * MiB }, sizes: [5 * MiB, 1, 5 * MiB, 16 * MiB, 5 * MiB], most: 5 * MiB },
  { name: 'more than receiveHighWaterMark.bytes each', options: { receiveHighWaterMark: { bytes: 16 * KiB } }, sizes: [100 * KiB, 1, 100 * KiB, 2, MiB], most: 100 * KiB },
  { name: 'as many as fill the marks many times', options: {}, sizes: [...Array<number>(6).fill(MiB), ...Array<number>(300).fill(10), ...Array<number>(6).fill(MiB)], most: MiB }
]) {
  t.test(`compressed messages are held back at the mark and then received: ${name}`, { timeout: 60_000 }, async (t) => {
    const { open, arrived, passTime, isPaused, receive, ended } = await startStalled(t, { ...COMPRESSED, ...options })
    const client = await open()
    client.write(...sizes.map((size) => compressed(Buffer.alloc(size), BINARY)), closeFrame(1000))
    await isPaused
    await passTime()
    t.equal(sum(arrived), most, 'no more has come')
    receive()
    const { received, info } = await ended
    t.same(received, sizes)
    t.match(info, { code: 1000, cause: 'peer', unread: 0 })
  })
}

t.test('what was read before a reset is received up to the cap, however much it inflates to', async (t) => {
  const { open, arrived, isPaused, receive, ended, connection } = await startStalled(t, COMPRESSED)
  const client = await open()
  client.write(...Array<Buffer>(60).fill(compressed(Buffer.alloc(MiB), BINARY))) // they are in one read
  await isPaused
  client.socket.resetAndDestroy()
  connection().sendAsync('a paused transport notices by this') // and not by reading
  const info = await connection().closed
  receive()
  const { received } = await ended
  t.equal(arrived.length, 60)
  t.equal(received.length, 6)
  t.match(info, { code: 1006, cause: 'connection-lost', unread: 60 })
})

// More than the marks, in one read
const MANY = Array<number>(300).fill(10)
const many = (message: (size: number) => Buffer) => Buffer.concat(MANY.map(message))
const compressedMessage = (size: number) => compressed(Buffer.alloc(size, 'x'))
const plainMessage = (size: number) => frame('x'.repeat(size))

for (const { mode, options, message } of [
  { mode: 'compressed', options: COMPRESSED, message: compressedMessage },
  { mode: 'deferred', options: DEFERRED, message: plainMessage }
]) {
  t.test(`the queue holds one message more than its mark, whatever was read: ${mode}`, async (t) => {
    const { open, arrived, passTime, isPaused, receive, ended } = await startStalled(t, options)
    const client = await open()
    client.write(many(message), closeFrame(1000))
    await isPaused
    await passTime()
    t.equal(arrived.length, 65)
    receive()
    t.match(await ended, { received: MANY, info: { code: 1000, cause: 'peer', unread: 0 } })
  })

  t.test(`what is held back comes before a FIN that follows it: ${mode}`, async (t) => {
    const { open, arrived, isPaused, receive, ended } = await startStalled(t, options)
    const client = await open()
    client.write(many(message))
    client.socket.end()
    await isPaused
    t.equal(arrived.length, 65)
    receive()
    t.match(await ended, { received: MANY, info: { code: 1006, cause: 'connection-lost', unread: 0 } })
  })

  t.test(`what was read comes before a reset that follows it: ${mode}`, async (t) => {
    const { open, passTime, isPaused, receive, ended } = await startStalled(t, options)
    const client = await open()
    client.write(many(message))
    await isPaused
    client.socket.resetAndDestroy()
    await passTime()
    receive()
    // The kernel may report the reset before or after the messages are received, so \`unread\` is not judged
    t.match(await ended, { received: MANY, info: { code: 1006, cause: 'connection-lost' } })
  })

  t.test(`a close from our side is answered while frames are held back: ${mode}`, async (t) => {
    const { open, isPaused, receive, ended, connection } = await startStalled(t, options)
    const client = await open()
    client.write(many(message))
    await isPaused
    const info = connection().closeAsync(4000)
    t.match(await client.close(), { code: 4000 })
    client.write(closeFrame(4000))
    t.match(await info, { code: 4000, cause: 'local', wasClean: true, unread: MANY.length })
    receive()
    t.equal((await ended).received.length, 65)
  })

  t.test(`the app closes while frames are held back: ${mode}`, async (t) => {
    const { app, open, isPaused, receive, ended } = await startStalled(t, options)
    const client = await open()
    client.write(many(message))
    await isPaused
    const closed = app.close()
    receive()
    t.match(await client.close(), { code: 1001 })
    client.write(closeFrame(1001))
    const { received, info } = await ended
    t.match(info, { code: 1001, cause: 'shutdown', wasClean: true, unread: MANY.length - received.length })
    await closed
  })

  t.test(`the keep-alive looks ahead within its bound, and cuts nobody off who has sent too much: ${mode}`, async (t) => {
    const marks = { receiveHighWaterMark: { messages: 1 }, keepAlive: { interval: 20, timeout: 500 } }
    const { open, isPaused, receive, ended } = await startStalled(t, { ...options, ...marks })
    const client = await open()
    const count = 12_000 // a look admits as many as one read may have, 10,923
    client.write(Buffer.concat(Array<Buffer>(count).fill(message(0))))
    await isPaused
    for (let pings = 0; pings < 3; pings++) t.match(await client.frame(), { opcode: 9 })
    client.write(closeFrame(1000))
    receive()
    const { received, info } = await ended
    t.equal(received.length, count)
    t.match(info, { code: 1000, cause: 'peer' })
  })

  t.test(`a stream that a library makes of the socket gets all that was sent: ${mode}`, async (t) => {
    const app = await buildApp(t, options)
    const got = deferred<string>()
    app.get('/', { websocket: true }, (socket: WebSocket) => {
      const stream = createWebSocketStream(socket, { readableHighWaterMark: 100, encoding: 'utf8' })
      got.resolve(text(stream))
    })
    const client = await openRaw(t, await listen(app), '/', DEFLATE)
    client.write(many(message), ...fragments(['in ', 'fragments']), closeFrame(1000))
    t.equal(await got.promise, 'x'.repeat(sum(MANY)) + 'in fragments')
  })

  t.test(`the application pauses and resumes the socket, message by message: ${mode}`, async (t) => {
    const app = await buildApp(t, options)
    const texts: string[] = []
    const closed = deferred()
    app.get('/', { websocket: true }, (socket: WebSocket) => {
      socket.on('message', (data) => {
        texts.push(socket.isPaused ? 'not paused' : String(data))
        socket.pause()
        setImmediate(() => socket.resume())
      })
      socket.on('close', () => closed.resolve())
    })
    const client = await openRaw(t, await listen(app), '/', DEFLATE)
    const parts = mode === 'compressed' ? fragments([deflate('long').subarray(0, 3), deflate('long').subarray(3)], { rsv: RSV1 }) : fragments(['lo', 'ng'])
    client.write(many(message), parts[0]!, frame('', { opcode: 9 }), parts[1]!, closeFrame(1000))
    await closed.promise
    t.same(texts, [...MANY.map((size) => 'x'.repeat(size)), 'long'])
  })
}

const PAYLOAD = MiB

/** Violations of the protocol, each with the close code that the peer gets. */
const violations: Record<string, { bytes: Buffer[], code: number, needsDeflate?: boolean }> = {
  'a reserved bit': { bytes: [frame('x', { rsv: 2 })], code: 1002 },
  'a compressed ping': { bytes: [frame('', { opcode: 9, rsv: RSV1 })], code: 1002 },
  'an opcode that is none': { bytes: [frame('x', { opcode: 3 })], code: 1002 },
  'a control opcode that is none': { bytes: [frame('x', { opcode: 11 })], code: 1002 },
  'a continuation of nothing': { bytes: [frame('x', { opcode: 0 })], code: 1002 },
  'a message in a message': { bytes: [frame('x', { fin: false }), frame('y')], code: 1002 },
  'a ping in fragments': { bytes: [frame('x', { opcode: 9, fin: false })], code: 1002 },
  'a ping that is too long': { bytes: [frame('x'.repeat(126), { opcode: 9 })], code: 1002 },
  'no mask': { bytes: [frame('x', { isMasked: false })], code: 1002 },
  'text that is not UTF-8': { bytes: [frame(Buffer.from([0xc0, 0xaf]))], code: 1007 },
  'a message that is too long': { bytes: [frame(Buffer.alloc(PAYLOAD + 1), { opcode: BINARY })], code: 1009 },
  'fragments that are too long': { bytes: fragments(Array<Buffer>(3).fill(Buffer.alloc(PAYLOAD / 2)), { opcode: BINARY }), code: 1009 },
  'a length that no number has': { bytes: [Buffer.from([0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4])], code: 1009 },
  'a close code that may not be sent': { bytes: [closeFrame(1005)], code: 1002 },
  'half a close code': { bytes: [frame('x', { opcode: 8 })], code: 1002 },
  'a close reason that is not UTF-8': { bytes: [frame(Buffer.from([0x03, 0xe8, 0xff]), { opcode: 8 })], code: 1007 },
  'bytes that do not inflate': { bytes: [frame(Buffer.alloc(20, 0xff), { rsv: RSV1 })], code: 1007, needsDeflate: true },
  'fragments that do not inflate': { bytes: fragments(['abc', Buffer.alloc(20, 0xff)], { rsv: RSV1 }), code: 1007, needsDeflate: true },
  'text that inflates to other than UTF-8': { bytes: [compressed(Buffer.from([0xc0, 0xaf]))], code: 1007, needsDeflate: true },
  'a message that inflates to too much': { bytes: [compressed(Buffer.alloc(PAYLOAD + 1), BINARY)], code: 1009, needsDeflate: true }
}

const followers: Record<string, Buffer[]> = {
  nothing: [],
  'a message': [frame('after')],
  'many small messages': Array.from({ length: 40 }, (_, i) => frame(`${i}`)),
  'the same again': [],
  'half a header': [Buffer.from([0x81])],
  'bytes of any kind': [Buffer.from('HEAD / HTTP/1.1\r\n\r\n')],
  'a close frame': [closeFrame(1000)]
}

interface Ending {
  messages: number
  code: number
  cause?: string
}

/** By default an event-style connection is terminated at an error, and the close frame may not reach the peer. */
type Style = 'awaited' | 'with events' | 'with events, cut off'

/** An app whose connections tell how they ended. */
async function startWatched (t: Test, options: Options, style: Style) {
  const app = await buildApp(t, { maxPayload: PAYLOAD, ...options, ...style === 'with events' && { errorHandler () {} } })
  const endings = new Map<string, ReturnType<typeof deferred<Ending>>>()
  const endingOf = (id: string) => {
    if (!endings.has(id)) endings.set(id, deferred())
    return endings.get(id)!
  }
  if (style === 'awaited') {
    app.get<{ Params: { id: string } }>('/:id', async (request) => {
      const ws = await request.getWebSocketAsync()
      let messages = 0
      for await (const _message of ws) messages++
      const { code, cause } = await ws.closed
      endingOf(request.params.id).resolve({ messages, code, cause })
    })
  } else {
    app.get<{ Params: { id: string } }>('/:id', { websocket: true }, (socket, request) => {
      let messages = 0
      socket.on('message', () => messages++)
      socket.on('close', (code) => endingOf(request.params.id).resolve({ messages, code }))
    })
  }
  return { app, port: await listen(app), endingOf }
}

/** Writes each in a read of its own, or all in one. */
async function writeReads (client: RawClient, reads: Buffer[][], areTogether: boolean): Promise<void> {
  if (areTogether) return client.write(...reads.flat())
  client.socket.setNoDelay(true)
  for (const bytes of reads) {
    if (bytes.length > 0) client.write(...bytes)
    await nextTurn()
    await nextTurn()
  }
}

/** Opens a connection, breaks the protocol after a message, and looks at how it ends. */
async function violate (t: Test, { port, endingOf }: Awaited<ReturnType<typeof startWatched>>, style: Style, isCompressed: boolean, violation: string, follower: string, areTogether: boolean) {
  const { bytes, code } = violations[violation]!
  const id = `${violation}, then ${follower}, ${areTogether ? 'in one read' : 'in more'}`
  const first = isCompressed ? compressed(Buffer.alloc(PAYLOAD), BINARY) : frame('first')
  const after = follower === 'the same again' ? bytes : followers[follower]!
  const client = await openRaw(t, port, `/${encodeURIComponent(id)}`, isCompressed ? DEFLATE : {})
  await writeReads(client, [[first], ...bytes.map((each) => [each]), ...after.map((each) => [each])], areTogether)
  if (style !== 'with events, cut off') {
    const told = await client.close()
    if (told.code !== code) t.fail(`${id}: the peer was told ${told.code}`)
  }
  const expected: Ending = style === 'awaited' ? { messages: 1, code, cause: 'protocol-error' } : { messages: 1, code: 1006 } // so ws has it
  t.same(await endingOf(id).promise, expected, id)
  await client.closed
}

for (const [mode, options] of Object.entries({ compressed: COMPRESSED, deferred: DEFERRED, both: { ...COMPRESSED, ...DEFERRED } })) {
  for (const style of ['awaited', 'with events', 'with events, cut off'] as const) {
    t.test(`a violation ends its own connection with the right code, whatever follows it: ${mode}, ${style}`, { timeout: 120_000 }, async (t) => {
      const watched = await startWatched(t, options, style)
      const isCompressed = 'compression' in options
      for (const [violation, { needsDeflate = false }] of Object.entries(violations)) {
        if (needsDeflate && !isCompressed) continue
        await Promise.all(Object.keys(followers).flatMap((follower) => [true, false].map((areTogether) =>
          violate(t, watched, style, isCompressed, violation, follower, areTogether))))
      }
      const { app } = watched
      await app.close()
      t.same(process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout'), [], 'no timer is left')
      t.equal(await promisify(app.server.getConnections.bind(app.server))(), 0, 'no socket is left')
    })
  }
}

for (const [name, options, message] of [
  ['compressed', COMPRESSED, (text: string) => compressed(text)],
  ['emitted in a later turn', DEFERRED, (text: string) => frame(text)]
] as const) {
  t.test(`messages before a close frame in the same write are answered, where they are ${name}`, async (t) => {
    const app = await buildApp(t, options)
    app.get('/', async (request) => {
      const ws = await request.getWebSocketAsync()
      for await (const { length } of ws) await ws.sendAsync(String(length))
    })
    const port = await listen(app)
    for (let i = 0; i < 20; i++) {
      const client = await openRaw(t, port, '/', DEFLATE)
      client.write(message('a'), message('bc'), closeFrame(4000))
      t.equal(await client.text(), '1')
      t.equal(await client.text(), '2')
      t.match(await client.frame(), { opcode: 8 })
    }
  })
}

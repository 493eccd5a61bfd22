import { once } from 'node:events'
import type { Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { runInNewContext } from 'node:vm'
import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { WebSocket } from 'ws'
import { WebSocketCloseError, type AsyncWebSocket, type CloseInfo } from '../../../index.js'
import { buildApp, listen, needsTcp } from '../../fixtures/app.js'
import { deferred } from '../../fixtures/deferred.js'
import { fakeClock } from '../../fixtures/fake-clock.js'
import { captureLog } from '../../fixtures/log.js'
import { closeFrame, frame, openRaw } from '../../fixtures/raw-client.js'

type Handler = (ws: AsyncWebSocket) => unknown

const endings: { name: string, handler: Handler, close: { code: number, reason: string }, cause: CloseInfo['cause'], errors?: number }[] = [
  { name: 'returns', handler: async () => 'ignored', close: { code: 1000, reason: '' }, cause: 'handler-returned' },
  { name: 'throws', handler: async () => { throw new Error('secret') }, close: { code: 1011, reason: '' }, cause: 'handler-failed', errors: 1 },
  { name: 'throws what is no Error', handler: async () => { throw null }, close: { code: 1011, reason: '' }, cause: 'handler-failed', errors: 1 }, // eslint-disable-line no-throw-literal
  { name: 'throws a WebSocketCloseError', handler: async () => { throw new WebSocketCloseError(4003, 'not you') }, close: { code: 4003, reason: 'not you' }, cause: 'handler-failed' },
  { name: 'closes', handler: async (ws) => ws.closeAsync(4000, 'enough'), close: { code: 4000, reason: 'enough' }, cause: 'local' },
  { name: 'closes with a reason alone', handler: async (ws) => ws.closeAsync(undefined, 'done'), close: { code: 1000, reason: 'done' }, cause: 'local' },
  { name: 'closes twice', handler: async (ws) => Promise.all([ws.closeAsync(4001), ws.closeAsync(4002)]), close: { code: 4001, reason: '' }, cause: 'local' },
  { name: 'closes the raw socket', handler: async (ws) => { ws.socket.close(4004, 'raw'); return ws.closed }, close: { code: 4004, reason: 'raw' }, cause: 'local' },
  { name: 'disposes of it and returns', handler: async (ws) => { await using _ws = ws }, close: { code: 1000, reason: '' }, cause: 'handler-returned' },
  { name: 'disposes of it and stays', handler: async (ws) => { { await using _ws = ws } await ws.closed }, close: { code: 1000, reason: '' }, cause: 'local' },
  { name: 'disposes of it and throws', handler: async (ws) => { await using _ws = ws; throw new Error('secret') }, close: { code: 1011, reason: '' }, cause: 'handler-failed', errors: 1 },
  { name: 'disposes of it and throws a WebSocketCloseError', handler: async (ws) => { await using _ws = ws; throw new WebSocketCloseError(4005) }, close: { code: 4005, reason: '' }, cause: 'handler-failed' }
]

for (const { name, handler, close, cause, errors = 0 } of endings) {
  t.test(`a handler that ${name} closes the connection with ${close.code}`, async (t) => {
    const { lines, logger } = captureLog()
    const app = await buildApp(t, { app: { logger } })
    const opened = deferred<AsyncWebSocket>()
    app.get('/', async (request) => {
      const ws = await request.getWebSocketAsync()
      opened.resolve(ws)
      return handler(ws)
    })
    const client = await openRaw(t, await listen(app), '/')
    t.same(await client.close(), close)
    const ws = await opened.promise
    t.equal(ws.isClosed, true)
    t.equal(ws.closeInfo, null, 'the handshake is not complete')
    client.write(closeFrame(close.code))
    const info = await ws.closed
    t.match(info, { code: close.code, wasClean: true, cause, unread: 0, unsent: 0 })
    t.equal(ws.closeInfo, info)
    await nextTurn()
    t.equal(lines.filter(({ level }) => level >= 50).length, errors)
    t.equal(lines.filter(({ msg }) => msg === 'websocket closed').length, 1)
  })
}

t.test('a close frame from the client ends iteration, and closeAsync() afterwards resolves to how the client closed', async (t) => {
  const app = await buildApp(t)
  const ended = deferred<CloseInfo>()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    const messages = []
    for await (const message of ws) messages.push(message.getString())
    t.same(messages, ['last words'])
    t.equal(ws.hasEnded, true)
    t.equal(await ws.sendAsync('too late'), false)
    ended.resolve(await ws.closeAsync(4000))
  })
  const port = await listen(app)

  const polite = await openRaw(t, port, '/')
  polite.write(frame('last words'), closeFrame(4100, 'bye'))
  t.same(await polite.close(), { code: 4100, reason: 'bye' })
  t.match(await ended.promise, { code: 4100, reason: 'bye', wasClean: true, cause: 'peer', unread: 0 })
})

t.test('a client that ends or resets its TCP connection without a close frame is reported as 1006, connection-lost', async (t) => {
  const app = await buildApp(t)
  let ended = deferred<CloseInfo>()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    while (await ws.receiveMessageAsync() !== null);
    ended.resolve(await ws.closed)
  })
  const port = await listen(app)
  for (const leave of ['end', 'resetAndDestroy'] as const) {
    ended = deferred()
    const client = await openRaw(t, port, '/')
    client.socket[leave]()
    const info = await ended.promise
    t.match(info, { code: 1006, reason: '', wasClean: false, cause: 'connection-lost' })
    t.equal('error' in info, leave === 'resetAndDestroy')
  }
})

t.test('a close frame without a code is reported, and answered, as 1005', async (t) => {
  const app = await buildApp(t)
  const ended = deferred<CloseInfo>()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    ended.resolve(await ws.closed)
  })
  const client = await openRaw(t, await listen(app), '/')
  client.write(frame('', { opcode: 8 }))
  t.same(await client.close(), { code: 1005, reason: '' })
  t.match(await ended.promise, { code: 1005, wasClean: true, cause: 'peer' })
})

t.test('a client that breaks the protocol is told the code, and the cause is protocol-error', async (t) => {
  const app = await buildApp(t, { maxPayload: 10 })
  let ended = deferred<CloseInfo>()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    while (await ws.receiveMessageAsync() !== null);
    ended.resolve(await ws.closed)
  })
  const port = await listen(app)
  for (const [bytes, code] of [[Buffer.from([0x81, 0x01, 0x61]), 1002], [frame('more than ten'), 1009], [frame(Buffer.from([0xff])), 1007]] as const) {
    ended = deferred()
    const client = await openRaw(t, port, '/')
    client.write(bytes)
    t.match(await client.close(), { code })
    client.socket.end()
    t.match(await ended.promise, { code, wasClean: false, cause: 'protocol-error', error: Error })
  }
})

t.test('terminate() ends waiting receives with null, refuses sends and closes the TCP connection', async (t) => {
  const app = await buildApp(t)
  const ended = deferred<CloseInfo>()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    const waiting = ws.receiveMessageAsync()
    ws.terminate()
    t.equal(ws.isClosed, true)
    t.equal(await waiting, null)
    t.equal(await ws.sendAsync('x'), false)
    ended.resolve(await ws.closed)
  })
  const client = await openRaw(t, await listen(app), '/')
  t.match(await ended.promise, { code: 1006, wasClean: false, cause: 'terminated' })
  await client.closed
})

t.test('closeAsync() resolves after closeTimeout where the client does not answer', async (t) => {
  const app = await buildApp(t, { closeTimeout: 50 })
  const ended = deferred<CloseInfo>()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    ended.resolve(await ws.closeAsync(4000, 'now'))
  })
  const client = await openRaw(t, await listen(app), '/')
  client.write(frame('one'), frame('two'))
  t.match(await ended.promise, { code: 4000, reason: 'now', wasClean: false, cause: 'local', unread: 2 })
  await client.closed
})

t.test('a client that half-closes and does not read is cut off', async (t) => {
  const app = await buildApp(t, { closeTimeout: 50, maxBufferedBytes: Infinity })
  const ended = deferred<CloseInfo>()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    const sends = Array.from({ length: 64 }, () => ws.sendAsync(Buffer.alloc(1024 * 1024)))
    t.equal(await ws.receiveMessageAsync(), null)
    const results = await Promise.all(sends)
    t.equal(results.at(-1), false)
    ended.resolve(await ws.closed)
  })
  const client = await openRaw(t, await listen(app), '/')
  client.socket.pause()
  client.socket.end()
  const info = await ended.promise
  t.match(info, { code: 1006, wasClean: false, cause: 'connection-lost' })
  t.ok(info.unsent > 0, `${info.unsent} unsent`)
})

t.test('messages that came before the end are received after it', async (t) => {
  const app = await buildApp(t)
  const received = deferred<(string | undefined)[]>()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    const info = await ws.closed
    t.equal(info.unread, 2)
    t.equal(ws.hasEnded, false)
    const messages = [await ws.receiveMessageAsync(), await ws.receiveMessageAsync({ timeout: 0 }), await ws.receiveMessageAsync()]
    t.equal(ws.hasEnded, true)
    received.resolve(messages.map((message) => message?.getString()))
  })
  const client = await openRaw(t, await listen(app), '/')
  client.write(frame('a'), frame('b'), closeFrame(1000))
  t.same(await received.promise, ['a', 'b', undefined])
})

t.test('a handler that polls with receives blocks neither the event loop nor a closeAsync() made elsewhere', async (t) => {
  const app = await buildApp(t)
  let connection!: AsyncWebSocket
  const done = deferred<number>()
  app.get('/:timeout', async (request) => {
    const ws = connection = await request.getWebSocketAsync()
    const { timeout } = request.params as { timeout: string }
    let polls = 0
    while (!ws.isClosed) {
      await ws.receiveMessageAsync({ timeout: Number(timeout) })
      polls++
    }
    done.resolve(polls)
  })
  const client = await openRaw(t, await listen(app), '/0')
  let turns = 0
  while (turns++ < 100) await nextTurn()
  const closing = connection.closeAsync(4000)
  t.same(await client.close(), { code: 4000, reason: '' })
  client.write(closeFrame(4000))
  t.match(await closing, { code: 4000, cause: 'local' })
  t.ok(await done.promise > 10)
})

t.test('ws.signal aborts at the end, and a handler that rejects with it has not failed', async (t) => {
  const { lines, logger } = captureLog()
  const app = await buildApp(t, { app: { logger } })
  const reasons: unknown[] = []
  app.get('/:kind', async (request) => {
    const ws = await request.getWebSocketAsync()
    const { signal } = ws
    t.equal(ws.signal, signal)
    t.equal(signal.aborted, false)
    const { kind } = request.params as { kind: string }
    await new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => {
        reasons.push(signal.reason)
        reject(kind === 'itself' ? signal.reason : new Error('wrapped', { cause: signal.reason }))
      })
    })
  })
  app.get('/late', async (request) => {
    const ws = await request.getWebSocketAsync()
    await ws.closed
    t.equal(ws.signal.aborted, true)
    ws.signal.throwIfAborted()
  })
  const port = await listen(app)
  for (const kind of ['itself', 'wrapped', 'late']) {
    const client = await openRaw(t, port, `/${kind}`)
    client.write(closeFrame(4007))
    await client.closed
  }
  await app.close() // waits for the handlers
  t.match(reasons, [{ name: 'AbortError', cause: { code: 4007, cause: 'peer' } }, { name: 'AbortError' }])
  t.same(lines.filter(({ level }) => level > 30), [])
  t.equal(lines.filter(({ level, msg }) => level === 20 && msg === 'websocket handler failed').length, 3)
})

t.test('a mistake of the caller rejects before anything changes', async (t) => {
  const app = await buildApp(t)
  const done = deferred()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    for (const code of [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 1000.5, NaN, '1000']) {
      await t.rejects(ws.closeAsync(code as number), { code: 'FST_WSA_INVALID_CLOSE' }, `closeAsync(${code})`)
    }
    await t.rejects(ws.closeAsync(1000, 'é'.repeat(62)), { code: 'FST_WSA_INVALID_CLOSE', message: /124 bytes/ })
    for (const timeout of [NaN, -1, 2 ** 31, '5', null]) {
      await t.rejects(ws.receiveMessageAsync({ timeout: timeout as number }), { code: 'FST_WSA_INVALID_ARGUMENT' }, `timeout ${timeout}`)
    }
    await t.rejects(ws.receiveMessageAsync({ signal: {} as AbortSignal }), { code: 'FST_WSA_INVALID_ARGUMENT' })
    await t.rejects(ws.receiveMessageAsync(5 as never), { code: 'FST_WSA_INVALID_ARGUMENT' })
    for (const data of [undefined, null, 5, {}, []]) {
      await t.rejects(ws.sendAsync(data as unknown as string), { code: 'FST_WSA_INVALID_ARGUMENT' }, `sendAsync(${data})`)
    }
    for (const interval of [0, -1, NaN, Infinity, 2 ** 31]) t.throws(() => ws.pingPolicy.start({ interval }), { code: 'FST_WSA_INVALID_ARGUMENT' })
    t.throws(() => ws.pingPolicy.start({ dataMessage: 5 as unknown as string }), { code: 'FST_WSA_INVALID_ARGUMENT' })
    t.throws(() => new WebSocketCloseError(1006), { code: 'FST_WSA_INVALID_CLOSE' })
    t.equal(ws.isClosed, false)
    t.equal(await ws.sendAsync('still here'), true)
    done.resolve()
  })
  const client = await openRaw(t, await listen(app), '/')
  t.equal(await client.text(), 'still here')
  await done.promise
})

t.test('what is sent arrives as it was, in the order of the calls', async (t) => {
  const app = await buildApp(t)
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    const receiving = ws.receiveMessageAsync()
    const bytes = new Uint16Array([1, 2, 3]).subarray(1)
    const results = await Promise.all([
      ws.sendAsync('text'), ws.sendAsync(Buffer.from('buffer')), ws.sendAsync(bytes), ws.sendAsync(bytes.buffer),
      ws.sendAsync(''), ws.sendAsync('aborted', { signal: AbortSignal.abort() })
    ])
    t.same(results, [true, true, true, true, true, false])
    const message = await receiving
    t.match(message, { isBinary: true, length: 2 })
    t.equal(message?.sender, ws)
    t.equal((await ws.receiveMessageAsync())?.json<{ a: number }>().a, 1)
    await ws.sendAsync(message?.bytes ?? '')
  })
  const client = await openRaw(t, await listen(app), '/')
  client.write(frame(Buffer.from([7, 8]), { opcode: 2 }), frame('{"a":1}'))
  const frames = []
  for (let i = 0; i < 6; i++) frames.push(await client.frame())
  t.same(frames, [
    { opcode: 1, payload: Buffer.from('text') },
    { opcode: 2, payload: Buffer.from('buffer') },
    { opcode: 2, payload: Buffer.from([2, 0, 3, 0]) },
    { opcode: 2, payload: Buffer.from([1, 0, 2, 0, 3, 0]) },
    { opcode: 1, payload: Buffer.alloc(0) },
    { opcode: 2, payload: Buffer.from([7, 8]) }
  ])
})

t.test('leaving an iteration closes nothing and loses nothing', async (t) => {
  const app = await buildApp(t, { receiveTimeout: 1 })
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    for await (const message of ws) {
      if (message.getString() === 'b') break
    }
    for await (const message of ws) await ws.sendAsync(message.getString())
  })
  const client = await openRaw(t, await listen(app), '/')
  client.write(frame('a'), frame('b'), frame('c'))
  t.equal(await client.text(), 'c')
  client.write(frame('d'))
  t.equal(await client.text(), 'd')
})

t.test('receiveTimeout is the default of a receive, and Infinity switches it off', async (t) => {
  const app = await buildApp(t, { receiveTimeout: 20 })
  const isReceiving = deferred()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    const first = ws.receiveMessageAsync()
    isReceiving.resolve()
    t.equal(await first, null)
    t.equal(ws.hasEnded, false)
    t.equal(ws.isClosed, false)
    await ws.sendAsync('timed out')
    const received = ws.receiveMessageAsync({ timeout: Infinity })
    clock.tick(60_000)
    await ws.sendAsync('still waiting')
    t.equal((await received)?.getString(), 'late')
  })
  const port = await listen(app)
  const clock = fakeClock(t, ['setTimeout', 'clearTimeout']) // not the intervals of the keep-alive
  const client = await openRaw(t, port, '/')
  await isReceiving.promise
  clock.tick(20)
  t.equal(await client.text(), 'timed out')
  t.equal(await client.text(), 'still waiting')
  client.write(frame('late'))
  t.same(await client.close(), { code: 1000, reason: '' })
})

t.test('a connection whose raw socket is paused closes cleanly', async (t) => {
  const app = await buildApp(t, { closeTimeout: 5000 })
  const ended = deferred<CloseInfo>()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    ws.socket.pause()
    ended.resolve(await ws.closeAsync())
  })
  const client = await openRaw(t, await listen(app), '/')
  await client.close()
  const start = performance.now()
  client.write(closeFrame(1000))
  t.match(await ended.promise, { wasClean: true })
  t.ok(performance.now() - start < 1000)
})

t.test('the timer for a half-closed client is cleared at the end', async (t) => {
  const app = await buildApp(t)
  const ended = deferred<CloseInfo>()
  app.get('/', async (request) => { ended.resolve(await (await request.getWebSocketAsync()).closed) })
  const client = await openRaw(t, await listen(app), '/')
  client.socket.end()
  await ended.promise
  await client.closed
  await app.close()
  t.same(process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout'), [])
})

t.test('messages that ws puts out after the FIN are received too', needsTcp, async (t) => {
  for (const options of [{ compression: { threshold: 0 } }, { options: { allowSynchronousEvents: false } }]) {
    const app = await buildApp(t, options)
    const ended = deferred<{ count: number, info: CloseInfo }>()
    app.get('/', async (request) => {
      const ws = await request.getWebSocketAsync()
      let count = 0
      for await (const message of ws) count += message.length / 2000
      ended.resolve({ count, info: await ws.closed })
    })
    const client = new WebSocket(`ws://127.0.0.1:${await listen(app)}/`, { perMessageDeflate: { threshold: 0 } })
    const socket = deferred<Socket>()
    client.on('upgrade', (response) => socket.resolve(response.socket))
    await once(client, 'open')
    for (let i = 0; i < 50; i++) client.send('x'.repeat(2000), () => { if (i === 49) socket.promise.then((socket) => socket.end()) })
    t.match(await ended.promise, { count: 50, info: { cause: 'connection-lost', unread: 0 } })
  }
})

/** Ways in which an app may read the bytes of a connection beside ws. */
const readers: Record<string, { before?: (transport: Socket) => void, after?: (transport: Socket) => void }> = {
  'nobody else': {},
  'a listener from before the upgrade': { before: (transport) => transport.on('data', ignore) },
  'a listener from before the upgrade, which leaves': { before: (transport) => transport.on('data', ignore), after: (transport) => transport.off('data', ignore) },
  'a listener': { after: (transport) => transport.on('data', ignore) },
  'many listeners': { after: (transport) => { for (let i = 0; i < 5; i++) transport.on('data', () => {}) } },
  'a listener that comes first': { after: (transport) => transport.prependListener('data', ignore) },
  'a listener that has left': { after: (transport) => transport.on('data', ignore).off('data', ignore) },
  'a pipe': { after: (transport) => transport.pipe(new PassThrough().resume()) },
  'a pipe that has ended': { after: (transport) => { const far = new PassThrough(); transport.pipe(far); transport.unpipe(far).resume() } },
  'one listener in place of another': { before: (transport) => transport.on('data', ignore), after: (transport) => transport.off('data', ignore).on('data', () => {}) }
}

function ignore (): void {}

const closings: Record<CloseInfo['cause'] & ('peer' | 'local' | 'protocol-error'), { close?: (ws: AsyncWebSocket) => void, bytes: Buffer, code: number }[]> = {
  peer: [{ bytes: closeFrame(4321), code: 4321 }, { bytes: frame('', { opcode: 8 }), code: 1005 }],
  local: [
    { close: (ws) => { ws.socket.close(4000) }, bytes: closeFrame(4000), code: 4000 },
    { close: (ws) => { ws.closeAsync(4000) }, bytes: closeFrame(4000), code: 4000 },
    { close: (ws) => { ws.socket.on('message', () => ws.socket.close(4000)) }, bytes: Buffer.concat([frame('close it'), closeFrame(4321)]), code: 4321 }
  ],
  'protocol-error': [{ bytes: frame('not masked', { isMasked: false }), code: 1002 }, { bytes: frame(Buffer.from([0xff])), code: 1007 }]
}

for (const [reader, { before, after }] of Object.entries(readers)) {
  t.test(`closeInfo.cause tells which side closed, where messages are read by ${reader}`, async (t) => {
    for (const [cause, ways] of Object.entries(closings)) {
      for (const { close, bytes, code } of ways) {
        const app = await buildApp(t)
        if (before !== undefined) app.server.on('connection', before)
        const ended = deferred<CloseInfo>()
        app.get('/', async (request) => {
          const ws = await request.getWebSocketAsync()
          after?.(request.raw.socket)
          close?.(ws)
          await ws.sendAsync('it is read')
          ended.resolve(await ws.closed)
        })
        const client = await openRaw(t, await listen(app), '/')
        await client.frame()
        client.write(bytes)
        client.frame().catch(() => {}).finally(() => client.socket.end())
        t.match(await ended.promise, { code, cause })
      }
    }
  })
}

t.test('sendAsync() takes bytes in every kind of buffer, and refuses those of a detached one', async (t) => {
  const app = await buildApp(t)
  const done = deferred()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    t.equal(await ws.sendAsync(runInNewContext('new Uint8Array([1, 2]).buffer')), true)
    const detached = new ArrayBuffer(2)
    structuredClone(detached, { transfer: [detached] })
    await t.rejects(ws.sendAsync(detached), { code: 'FST_WSA_INVALID_ARGUMENT' })
    t.equal((await ws.closeAsync()).unsent, 0)
    done.resolve()
  })
  const client = await openRaw(t, await listen(app), '/')
  t.same((await client.frame()).payload, Buffer.from([1, 2]))
  t.match(await client.close(), { code: 1000 })
  client.write(closeFrame(1000))
  await done.promise
})

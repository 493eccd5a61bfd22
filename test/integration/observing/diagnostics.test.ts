import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import t from 'tap'
import type { Test } from 'tap'
import type { WebSocket } from 'ws'
import type { AsyncWebSocket, CloseInfo } from '../../../index.js'
import { buildApp, listen } from '../../fixtures/app.js'
import { deferred } from '../../fixtures/deferred.js'
import { captureLog, type LogLine } from '../../fixtures/log.js'
import { closeFrame, connectRaw, frame, handshake, openRaw } from '../../fixtures/raw-client.js'

interface Events {
  open: { connection: AsyncWebSocket }
  close: { connection: AsyncWebSocket, closeInfo: CloseInfo }
  refused: { request: { url: string }, error: { code?: string, message: string } }
  dropped: { connection: AsyncWebSocket, direction: 'in' | 'out', reason: string, bytes: number }
}

/** What is published on a channel from now to the end of the test. */
function record<Name extends keyof Events> (t: Test, name: Name, onEvent: (event: Events[Name]) => void = () => {}): Events[Name][] {
  const events: Events[Name][] = []
  const listener = (message: unknown) => {
    const event = message as Events[Name] // nothing else is published there
    events.push(event)
    onEvent(event)
  }
  subscribe(`fastify-websocket-async:${name}`, listener)
  t.teardown(() => unsubscribe(`fastify-websocket-async:${name}`, listener))
  return events
}

function closingLines (lines: LogLine[]): LogLine[] {
  return lines.filter(({ msg }) => msg === 'websocket closed')
}

t.test('open and close are published once for each connection', async (t) => {
  const app = await buildApp(t)
  const order: string[] = []
  const opened = record(t, 'open', ({ connection }) => {
    t.equal(connection.isClosed, false)
    t.equal(connection.closeInfo, null)
    order.push('open')
  })
  const bothEnded = deferred()
  const ended = record(t, 'close', () => {
    order.push('close')
    if (ended.length === 2) bothEnded.resolve()
  })
  const wrappers: AsyncWebSocket[] = []
  app.get('/awaited', async (request) => {
    const ws = await request.getWebSocketAsync()
    order.push('handler')
    wrappers.push(ws)
    await ws.closeAsync(4001, 'done')
  })
  const sockets: WebSocket[] = []
  app.get('/events', { websocket: true }, (socket) => {
    order.push('handler')
    sockets.push(socket)
    socket.close(4001, 'done')
  })
  const port = await listen(app)
  for (const path of ['/awaited', '/events']) {
    const client = await openRaw(t, port, path)
    t.same(await client.close(), { code: 4001, reason: 'done' })
    client.write(closeFrame(4001, 'done'))
    await client.closed
  }
  await bothEnded.promise
  t.same(order, ['open', 'handler', 'close', 'open', 'handler', 'close'])
  t.equal(opened.length, 2)
  t.equal(opened[0]?.connection, wrappers[0])
  t.equal(opened[1]?.connection.socket, sockets[0])
  t.equal(opened[1]?.connection.request.url, '/events')
  for (const [i, { connection, closeInfo }] of ended.entries()) {
    t.equal(connection, opened[i]?.connection)
    t.equal(closeInfo, connection.closeInfo)
    t.match(closeInfo, { code: 4001, reason: 'done', wasClean: true, cause: 'local' })
  }
})

t.test('refused is published for what the plugin refuses, and for nothing else', async (t) => {
  const app = await buildApp(t, { maxConnections: 1 })
  const opened = record(t, 'open')
  const refused = record(t, 'refused')
  app.get('/awaited', async (request) => {
    const ws = await request.getWebSocketAsync()
    await ws.closed
  })
  app.get('/events', { websocket: true }, () => {})
  app.get('/subprotocol', (request) => request.getWebSocketAsync({ subprotocol: 'x' }))
  app.get('/answered', async (_request, reply) => reply.code(401).send('no'))
  const port = await listen(app)
  const ask = async (path: string, headers: Parameters<typeof handshake>[1] = {}) => {
    const client = await connectRaw(t, port)
    client.write(handshake(path, headers))
    await client.closed
  }
  for (const path of ['/awaited', '/events']) {
    await ask(path, { Origin: 'http://evil.test' })
    await ask(path, { 'Sec-WebSocket-Key': 'short' })
    await ask(path, { 'Sec-WebSocket-Version': '8' })
  }
  await ask('/subprotocol')
  await ask('/answered')
  await ask('/nowhere')
  await app.inject('/answered')
  t.equal(opened.length, 0)
  await openRaw(t, port, '/awaited')
  await ask('/awaited')
  await ask('/events')
  t.same(refused.map(({ request, error }) => [request.url, error.code]), [
    ['/awaited', 'FST_WSA_ORIGIN_REFUSED'],
    ['/awaited', 'FST_WSA_BAD_HANDSHAKE'],
    ['/awaited', 'FST_WSA_UNSUPPORTED_VERSION'],
    ['/events', 'FST_WSA_ORIGIN_REFUSED'],
    ['/events', 'FST_WSA_BAD_HANDSHAKE'],
    ['/events', 'FST_WSA_UNSUPPORTED_VERSION'],
    ['/subprotocol', 'FST_WSA_SUBPROTOCOL_NOT_OFFERED'],
    ['/awaited', 'FST_WSA_TOO_MANY_CONNECTIONS'],
    ['/events', 'FST_WSA_TOO_MANY_CONNECTIONS']
  ])
  t.equal(opened.length, 1)
})

t.test('refused is published where the upgrade took too long, where the client left, and where the app closes', async (t) => {
  const refused = record(t, 'refused')
  for (const end of ['late', 'left', 'closing'] as const) {
    const asked = deferred()
    const answered = deferred()
    const app = await buildApp(t, {
      upgradeTimeout: end === 'late' ? 30 : 10_000,
      origin () {
        asked.resolve()
        return new Promise(() => {})
      }
    })
    app.get(`/${end}`, (request) => request.getWebSocketAsync().catch((error) => {
      answered.resolve()
      throw error
    }))
    const client = await connectRaw(t, await listen(app))
    client.write(handshake(`/${end}`, { Origin: 'http://a.test' }))
    await asked.promise
    if (end === 'left') client.socket.resetAndDestroy()
    if (end === 'closing') await app.close()
    await answered.promise
  }
  t.same(refused.map(({ request, error }) => [request.url, error.code]), [
    ['/late', 'FST_WSA_UPGRADE_TIMEOUT'],
    ['/left', 'FST_WSA_CLIENT_GONE'],
    ['/closing', 'FST_WSA_APP_CLOSING']
  ])
})

t.test('refused is published where nobody had asked for the WebSocket yet', async (t) => {
  const refused = record(t, 'refused')
  for (const end of ['late', 'closing'] as const) {
    const app = await buildApp(t, { upgradeTimeout: end === 'late' ? 30 : 10_000, shutdown: { timeout: 100 } })
    const called = deferred()
    app.get(`/${end}`, () => {
      called.resolve()
      return new Promise(() => {})
    })
    const client = await connectRaw(t, await listen(app))
    client.write(handshake(`/${end}`))
    await called.promise
    if (end === 'closing') await app.close()
    await client.closed
  }
  t.same(refused.map(({ request, error }) => [request.url, error.code]), [
    ['/late', 'FST_WSA_UPGRADE_TIMEOUT'],
    ['/closing', 'FST_WSA_APP_CLOSING']
  ])
})

t.test('refused is published once for an upgrade, however often it was asked for', async (t) => {
  const app = await buildApp(t, { origin: 'https://a.test' })
  const refused = record(t, 'refused')
  app.get('/', (request) => Promise.all([request.getWebSocketAsync(), request.getWebSocketAsync()]))
  const client = await connectRaw(t, await listen(app))
  client.write(handshake('/', { Origin: 'https://b.test' }))
  t.match(await client.all(), /^HTTP\/1.1 403 /)
  t.equal(refused.length, 1)
})

t.test('refused is not published for an upgrade that is accepted after all', async (t) => {
  const app = await buildApp(t)
  const refused = record(t, 'refused')
  app.get('/', async (request) => {
    await request.getWebSocketAsync({ subprotocol: 'x' }).catch(() => request.getWebSocketAsync({ subprotocol: 'a' }))
  })
  const client = await connectRaw(t, await listen(app))
  client.write(handshake('/', { 'Sec-WebSocket-Protocol': 'a' }))
  t.match(await client.head(), /^HTTP\/1.1 101 /)
  t.same(refused.map(({ error }) => error.code), [])
})

t.test('dropped is published for every message that comes after our own close', async (t) => {
  const app = await buildApp(t)
  const dropped = record(t, 'dropped')
  const ended = deferred<AsyncWebSocket>()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    await ws.receiveMessageAsync()
    await ws.closeAsync(4000)
    ended.resolve(ws)
  })
  const client = await openRaw(t, await listen(app), '/')
  client.write(frame('received'))
  t.match(await client.close(), { code: 4000 })
  client.write(frame('late'), frame('ä'), frame(Buffer.alloc(300), { opcode: 2 }), closeFrame(4000))
  const connection = await ended.promise
  t.same(dropped.map(({ direction, reason, bytes }) => [direction, reason, bytes]), [['in', 'closing', 4], ['in', 'closing', 2], ['in', 'closing', 300]])
  t.ok(dropped.every((event) => event.connection === connection))
  t.equal(connection.closeInfo?.unread, 3)
})

t.test('dropped is published for every message that comes while the app closes', async (t) => {
  const app = await buildApp(t)
  const twoDropped = deferred()
  const dropped = record(t, 'dropped', () => { if (dropped.length === 2) twoDropped.resolve() })
  const received = deferred()
  const ended = deferred<CloseInfo>()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    ws.closed.then(ended.resolve)
    await ws.receiveMessageAsync()
    received.resolve()
    await twoDropped.promise
  })
  const client = await openRaw(t, await listen(app), '/')
  client.write(frame('first'))
  await received.promise
  const closing = app.close()
  await app.inject('/').catch(() => {}) // a turn or more: the connection drains by then
  client.write(frame('second'), frame('third'))
  t.match(await client.close(), { code: 1001 })
  client.write(closeFrame(1001))
  await closing
  t.same(dropped.map(({ direction, reason, bytes }) => [direction, reason, bytes]), [['in', 'closing', 6], ['in', 'closing', 5]])
  t.match(await ended.promise, { cause: 'shutdown', unread: 2 })
})

const MANY = 32 * 1024 * 1024 // bytes: more than the network between two local sockets holds

for (const slowConsumer of ['drop', 'close'] as const) {
  t.test(`dropped is published for what a slow consumer does not get, slowConsumer: '${slowConsumer}'`, async (t) => {
    const { lines, logger } = captureLog()
    const app = await buildApp(t, { app: { logger }, slowConsumer, maxBufferedBytes: 1024 * 1024 })
    const dropped = record(t, 'dropped')
    const outcome = deferred<{ ws: AsyncWebSocket, sent: boolean[], isClosed: boolean }>()
    app.get('/', async (request) => {
      const ws = await request.getWebSocketAsync()
      await ws.receiveMessageAsync()
      const first = ws.sendAsync('x'.repeat(MANY))
      const sent = [await ws.sendAsync('äöü'), await ws.sendAsync(Buffer.alloc(10)), await ws.sendAsync(new Uint8Array(7))]
      outcome.resolve({ ws, sent, isClosed: ws.isClosed })
      ws.terminate()
      await first
    })
    const client = await openRaw(t, await listen(app), '/')
    client.write(frame('go'))
    client.socket.pause()
    const { ws, sent, isClosed } = await outcome.promise
    await ws.closed
    const expected = slowConsumer === 'drop' ? [6, 10, 7] : [6]
    t.same(sent, [false, false, false])
    t.equal(isClosed, slowConsumer === 'close')
    t.same(dropped.map(({ direction, reason, bytes }) => [direction, reason, bytes]), expected.map((bytes) => ['out', 'slow-consumer', bytes]))
    t.ok(dropped.every(({ connection }) => connection === ws))
    t.match(closingLines(lines), [{
      cause: slowConsumer === 'drop' ? 'terminated' : 'slow-consumer',
      sent: { messages: 1, bytes: MANY, dropped: expected.length }
    }])
  })
}

t.test('one log line has how a connection ended and how much passed through it', async (t) => {
  const { lines, logger } = captureLog()
  const app = await buildApp(t, { app: { logger, genReqId: ({ url }) => `id of ${url}` } })
  const start = performance.now()
  let openedAt = NaN
  let endedAt = NaN
  app.get('/talk', async (request) => {
    const ws = await request.getWebSocketAsync()
    openedAt = performance.now()
    for await (const message of ws) {
      if (message.getString() === 'ä') {
        await ws.sendAsync('öü')
        await ws.sendAsync(Buffer.alloc(300))
        await ws.sendAsync('')
      }
    }
    endedAt = performance.now()
  })
  const client = await openRaw(t, await listen(app), '/talk')
  client.write(frame('ä'), frame(Buffer.alloc(5), { opcode: 2 }), frame('a', { fin: false }), frame('bc', { opcode: 0 }))
  for (const length of [4, 300, 0]) t.equal((await client.frame()).payload.length, length)
  const [socket] = app.websocketServer.clients
  const closed = once(socket as WebSocket, 'close')
  client.write(closeFrame(4002, 'bye'))
  await client.closed
  await closed
  const end = performance.now()
  const [line, ...others] = closingLines(lines)
  t.same(others, [])
  t.match(line, { level: 30, reqId: 'id of /talk', code: 4002, cause: 'peer' })
  t.same(line?.received, { messages: 3, bytes: 2 + 5 + 3 })
  t.same(line?.sent, { messages: 3, bytes: 4 + 300, dropped: 0 })
  t.notOk('err' in (line ?? {}))
  const duration = line?.duration as number
  t.ok(Number.isInteger(duration) && duration >= Math.floor(endedAt - openedAt) - 1 && duration <= Math.ceil(end - start), `${duration} ms`)
})

t.test('the closing log line has the code and the cause of every kind of end', async (t) => {
  const ends: Record<string, { handler?: (ws: AsyncWebSocket) => unknown, bytes?: Buffer, expected: object }> = {
    returned: { handler: () => {}, expected: { code: 1000, cause: 'handler-returned', received: { messages: 0, bytes: 0 } } },
    failed: { handler: () => { throw new Error('no') }, expected: { code: 1011, cause: 'handler-failed' } },
    local: { handler: (ws) => ws.closeAsync(4000), expected: { code: 4000, cause: 'local' } },
    terminated: { handler: (ws) => ws.terminate(), expected: { code: 1006, cause: 'terminated' } },
    violation: { bytes: frame('x', { opcode: 3 }), expected: { code: 1002, cause: 'protocol-error', err: { code: 'WS_ERR_INVALID_OPCODE' } } },
    late: { handler: (ws) => ws.closeAsync(), bytes: frame('late'), expected: { code: 1000, cause: 'local', received: { messages: 1, bytes: 4 } } }
  }
  const { lines, logger } = captureLog()
  const app = await buildApp(t, { app: { logger } })
  for (const [name, { handler }] of Object.entries(ends)) {
    app.get(`/${name}`, async (request) => {
      const ws = await request.getWebSocketAsync()
      await (handler === undefined ? ws.closed : handler(ws))
    })
  }
  const port = await listen(app)
  for (const [name, { bytes, expected }] of Object.entries(ends)) {
    lines.length = 0
    const isLogged = deferred()
    record(t, 'close', () => isLogged.resolve())
    const client = await openRaw(t, port, `/${name}`)
    if (name === 'late') await client.frame()
    if (bytes !== undefined) client.write(bytes)
    if (name === 'late') client.write(closeFrame(1000))
    else client.frame().then(({ payload }) => client.write(frame(payload, { opcode: 8 })), () => {})
    await isLogged.promise
    t.match(closingLines(lines), [{ level: 30, reqId: /^req-/, duration: Number, sent: { messages: 0, bytes: 0, dropped: 0 }, ...expected }], name)
    t.equal(closingLines(lines)[0]?.reqId, lines.find(({ msg }) => msg === 'incoming request')?.reqId)
  }
})

t.test('the closing log line of an event-style route counts its messages too', async (t) => {
  const { lines, logger } = captureLog()
  const app = await buildApp(t, { app: { logger } })
  const ended = deferred()
  record(t, 'close', () => ended.resolve())
  app.get('/', { websocket: true }, (socket) => {
    socket.on('message', (data) => {
      socket.send(`${data}!`)
      socket.close()
    })
  })
  const client = await openRaw(t, await listen(app), '/')
  client.write(frame('hello'))
  t.equal(await client.text(), 'hello!')
  client.write(closeFrame(1000))
  await ended.promise
  t.match(closingLines(lines), [{ code: 1000, received: { messages: 1, bytes: 5 }, sent: { messages: 1, bytes: 6, dropped: 0 } }])
})

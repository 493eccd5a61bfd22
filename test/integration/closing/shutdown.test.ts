import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { WebSocketCloseError, type AsyncWebSocket, type CloseInfo } from '../../../index.js'
import { buildApp, listen } from '../../fixtures/app.js'
import { declareWitness } from '../../fixtures/closing.js'
import { deferred } from '../../fixtures/deferred.js'
import { captureLog } from '../../fixtures/log.js'
import { closeFrame, connectRaw, frame, handshake, openRaw } from '../../fixtures/raw-client.js'

t.test('app.close() wakes a waiting receive with null and closes with 1001', async (t) => {
  const app = await buildApp(t)
  const infos: CloseInfo[] = []
  app.get('/receive', async (request) => {
    const ws = await request.getWebSocketAsync()
    t.equal(await ws.receiveMessageAsync(), null)
    t.equal(ws.hasEnded, true)
    infos.push(await ws.closeAsync())
  })
  app.get('/iterate', async (request) => {
    const ws = await request.getWebSocketAsync()
    for await (const message of ws) t.fail(message.getString())
    ws.closed.then((info) => infos.push(info))
  })
  app.get('/push', async (request) => {
    const ws = await request.getWebSocketAsync()
    infos.push(await ws.closed)
  })
  app.get('/event', { websocket: true }, (socket) => { socket.on('message', () => {}) })
  const port = await listen(app)
  const paths = ['/receive', '/iterate', '/push', '/event']
  const clients = await Promise.all(paths.map((path) => openRaw(t, port, path)))
  const closed = app.close()
  for (const [i, client] of clients.entries()) {
    t.same(await client.close(), { code: 1001, reason: 'server shutting down' }, `${paths[i]}`)
    client.write(closeFrame(1001))
    await client.closed
  }
  await closed
  t.match(infos, [{ code: 1001, cause: 'shutdown', wasClean: true }, { cause: 'shutdown' }, { cause: 'shutdown' }])
})

t.test('what was received before app.close() is answered before the 1001', async (t) => {
  const app = await buildApp(t, { shutdown: { code: 1012, reason: 'back soon' } })
  const beginToClose = declareWitness(app)
  const received = deferred()
  const mayAnswer = deferred()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    for await (const message of ws) {
      received.resolve()
      await mayAnswer.promise
      await ws.sendAsync(`answer to ${message.getString()}`)
    }
  })
  const client = await openRaw(t, await listen(app), '/')
  client.write(frame('a'), frame('b'))
  await received.promise
  const { closed } = await beginToClose()
  client.write(frame('too late'))
  await client.delivered()
  mayAnswer.resolve()
  t.equal(await client.text(), 'answer to a')
  t.equal(await client.text(), 'answer to b')
  t.same(await client.close(), { code: 1012, reason: 'back soon' })
  client.write(closeFrame(1012))
  await closed
})

t.test('a connection whose handler goes on after shutdown.grace is closed all the same', async (t) => {
  const app = await buildApp(t, { shutdown: { grace: 50 } })
  const begun = deferred()
  const done = deferred<boolean>()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    await ws.receiveMessageAsync()
    begun.resolve()
    await ws.closed
    done.resolve(await ws.sendAsync('too late'))
  })
  const client = await openRaw(t, await listen(app), '/')
  client.write(frame('begin'))
  await begun.promise
  const start = performance.now()
  const closed = app.close()
  t.same(await client.close(), { code: 1001, reason: 'server shutting down' })
  t.ok(performance.now() - start >= 45, 'after the grace')
  client.write(closeFrame(1001))
  t.equal(await done.promise, false)
  await closed
})

t.test('app.close() ends connections in every state within shutdown.timeout, and handlers end before the onClose hooks', async (t) => {
  const { lines, logger } = captureLog()
  const app = await buildApp(t, { app: { logger }, shutdown: { grace: 200, timeout: 500 } })
  const events: string[] = []
  const infos: Record<string, CloseInfo> = {}
  const mayWork = deferred()
  const isUndecided = deferred()
  const mayAsk = deferred()
  app.get('/:name', async (request) => {
    const { name } = request.params as { name: string }
    if (name === 'mid-handshake') {
      isUndecided.resolve()
      await mayAsk.promise
      await request.getWebSocketAsync().catch((error) => events.push(`${name} ${error.code}`))
      return
    }
    const ws = await request.getWebSocketAsync()
    if (name === 'mid-await') await mayWork.promise
    else while (await ws.receiveMessageAsync({ timeout: 5 }) !== null || !ws.hasEnded);
    if (name === 'paused') await ws.sendAsync(Buffer.alloc(64 * 1024 * 1024))
    infos[name] = await ws.closed
    events.push(`${name} ended`)
  })
  app.addHook('onClose', async () => { events.push('onClose') })
  const port = await listen(app)
  await openRaw(t, port, '/ignores')
  const paused = await openRaw(t, port, '/paused')
  paused.socket.pause()
  const midAwait = await openRaw(t, port, '/mid-await')
  const undecided = await connectRaw(t, port)
  undecided.write(handshake('/mid-handshake'))
  await isUndecided.promise

  const start = performance.now()
  const closed = app.close()
  t.match(await undecided.head(), /^HTTP\/1.1 503 /)
  mayAsk.resolve()
  t.same(await midAwait.close(), { code: 1001, reason: 'server shutting down' }, 'its grace is over while it awaits something else')
  mayWork.resolve()
  await closed
  const took = performance.now() - start
  t.ok(took < 1500, `took ${took} ms`)
  t.match(await undecided.all(), /"code":"FST_WSA_APP_CLOSING"/)
  t.equal(events.at(-1), 'onClose')
  t.same(events.slice(0, -1).sort(), ['ignores ended', 'mid-await ended', 'mid-handshake FST_WSA_APP_CLOSING', 'paused ended'])
  for (const [name, info] of Object.entries(infos)) t.match(info, { cause: 'shutdown', wasClean: false }, name)
  t.equal(lines.filter(({ msg }) => msg === 'websocket shutdown timed out').length, 1)
})

t.test('app.close() waits until shutdown.timeout and no longer, also where that is longer than pluginTimeout', async (t) => {
  const app = await buildApp(t, { app: { pluginTimeout: 100 }, shutdown: { grace: 20, timeout: 400 } })
  app.get('/', async (request) => {
    await request.getWebSocketAsync()
    await new Promise(() => {})
  })
  const client = await openRaw(t, await listen(app), '/')
  const start = performance.now()
  await app.close()
  const took = performance.now() - start
  t.ok(took >= 395 && took < 1400, `took ${took} ms`)
  await client.closed
})

t.test('a handler that polls does not hang app.close()', async (t) => {
  const app = await buildApp(t)
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    while (!ws.isClosed) await ws.receiveMessageAsync({ timeout: 5 })
  })
  const client = await openRaw(t, await listen(app), '/')
  const start = performance.now()
  const closed = app.close()
  t.same(await client.close(), { code: 1001, reason: 'server shutting down' })
  client.write(closeFrame(1001))
  await closed
  t.ok(performance.now() - start < 2500, 'before the grace of 5 s')
})

t.test('closeAsync() with a code sends that code while the app closes', async (t) => {
  const app = await buildApp(t)
  const ended = deferred<CloseInfo>()
  app.get('/', async (request) => {
    const ws: AsyncWebSocket = await request.getWebSocketAsync()
    await ws.receiveMessageAsync()
    ended.resolve(await ws.closeAsync(4000, 'mine'))
  })
  const client = await openRaw(t, await listen(app), '/')
  const closed = app.close()
  t.same(await client.close(), { code: 4000, reason: 'mine' })
  client.write(closeFrame(4000))
  t.match(await ended.promise, { code: 4000, cause: 'shutdown' })
  await closed
})

t.test("a custom preClose replaces upstream's, and the teardown follows", async (t) => {
  const events: string[] = []
  const app = await buildApp(t, { preClose: (done) => { events.push('preClose'); done() } })
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    await ws.receiveMessageAsync()
    events.push('handler')
  })
  const client = await openRaw(t, await listen(app), '/')
  const closed = app.close()
  t.match(await client.close(), { code: 1001 })
  client.write(closeFrame(1001))
  await closed
  t.same(events, ['preClose', 'handler'])
})

t.test('an HTTP answer that has begun and does not end is cut off at shutdown.timeout', async (t) => {
  const app = await buildApp(t, { shutdown: { grace: 10, timeout: 200 } })
  app.get('/', (_request, reply) => {
    reply.raw.writeHead(200)
    reply.raw.write('begun')
  })
  const client = await connectRaw(t, await listen(app))
  client.write(handshake('/'))
  await client.head()
  await app.close()
  t.match(await client.all(), /begun/)
})

t.test('an upgrade that is being accepted when the app closes opens, and gets its 1001 at once', async (t) => {
  const asked = deferred<(isAllowed: boolean) => void>()
  const verifyClient = ({ req }: { req: { url?: string | undefined } }, done: (isAllowed: boolean) => void) => {
    if (req.url === '/') asked.resolve(done)
    else done(true)
  }
  const app = await buildApp(t, { options: { verifyClient } })
  const beginToClose = declareWitness(app)
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    await ws.closed
  })
  const client = await connectRaw(t, await listen(app))
  client.write(handshake('/'))
  const allow = await asked.promise
  const start = performance.now()
  const { closed } = await beginToClose()
  allow(true)
  t.match(await client.head(), /^HTTP\/1.1 101 /)
  t.match(await client.close(), { code: 1001 })
  t.ok(performance.now() - start < 1000)
  client.write(closeFrame(1001))
  await closed
})

t.test('an answer whose onSend hooks are running when the app closes goes out', async (t) => {
  const app = await buildApp(t)
  const beginToClose = declareWitness(app)
  const isSending = deferred()
  const maySend = deferred()
  app.addHook('onSend', async (_request, _reply, payload) => {
    isSending.resolve()
    await maySend.promise
    return payload
  })
  app.get('/', async () => 'answered')
  const client = await connectRaw(t, await listen(app))
  client.write(handshake('/'))
  await isSending.promise
  const { closed } = await beginToClose()
  maySend.resolve()
  await closed
  t.match(await client.all(), /^HTTP\/1.1 200 [^]*answered$/)
})

t.test('what a handler returns after the 503 is ignored and not logged', async (t) => {
  const { lines, logger } = captureLog()
  const app = await buildApp(t, { app: { logger } })
  const asked = deferred()
  const mayReturn = deferred()
  app.get('/', async () => {
    asked.resolve()
    await mayReturn.promise
    return 'late'
  })
  const client = await connectRaw(t, await listen(app))
  client.write(handshake('/'))
  await asked.promise
  const closed = app.close()
  t.match(await client.all(), /^HTTP\/1.1 503 /)
  mayReturn.resolve()
  await closed
  await nextTurn()
  t.same(lines.filter(({ level }) => level > 30), [])
})

t.test('a connection that never receives is closed at once; one with a message in its queue may answer it first', async (t) => {
  const app = await buildApp(t)
  const mayReceive = deferred()
  app.get('/push', async (request) => {
    const ws = await request.getWebSocketAsync()
    await ws.closed
  })
  app.get('/busy', async (request) => {
    const ws = await request.getWebSocketAsync()
    await mayReceive.promise
    const message = await ws.receiveMessageAsync()
    await ws.sendAsync(`answer to ${message?.getString()}`)
  })
  const port = await listen(app)
  const [push, busy] = [await openRaw(t, port, '/push'), await openRaw(t, port, '/busy')]
  busy.write(frame('a'))
  await busy.delivered()
  const start = performance.now()
  const closed = app.close()
  t.match(await push.close(), { code: 1001 })
  t.ok(performance.now() - start < 1000, 'long before the grace of 5 s')
  mayReceive.resolve()
  t.equal(await busy.text(), 'answer to a')
  t.match(await busy.close(), { code: 1001 })
  for (const client of [push, busy]) client.write(closeFrame(1001))
  await closed
})

t.test('a handler that was at work when the app began to close, and then polls, is closed long before the grace', async (t) => {
  const app = await buildApp(t)
  const beginToClose = declareWitness(app)
  const begun = deferred()
  const mayPoll = deferred()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    await ws.receiveMessageAsync()
    begun.resolve()
    await mayPoll.promise
    while (!ws.isClosed) await ws.receiveMessageAsync({ timeout: 5 })
  })
  const client = await openRaw(t, await listen(app), '/')
  client.write(frame('begin'))
  await begun.promise
  const start = performance.now()
  const { closed } = await beginToClose()
  mayPoll.resolve()
  t.match(await client.close(), { code: 1001 })
  t.ok(performance.now() - start < 1000, 'long before the grace of 5 s')
  client.write(closeFrame(1001))
  await closed
})

t.test('a receive that waits when the app begins to close gets null, and the next one closes the connection at once', async (t) => {
  const app = await buildApp(t)
  const mayReturn = deferred()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    t.equal(await ws.receiveMessageAsync(), null)
    t.equal(ws.isClosed, false, 'it may still say goodbye')
    t.equal(await ws.sendAsync('goodbye'), true)
    t.equal(await ws.receiveMessageAsync(), null)
    t.equal(ws.isClosed, true, 'a handler that asks again is polling')
    await mayReturn.promise
  })
  const client = await openRaw(t, await listen(app), '/')
  const closed = app.close()
  t.equal(await client.text(), 'goodbye')
  t.same(await client.close(), { code: 1001, reason: 'server shutting down' })
  client.write(closeFrame(1001))
  mayReturn.resolve()
  await closed
})

t.test('a handler at work when the app begins to close may receive once more without losing its connection', async (t) => {
  const app = await buildApp(t)
  const beginToClose = declareWitness(app)
  const begun = deferred()
  const mayGoOn = deferred()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    await ws.receiveMessageAsync()
    begun.resolve()
    await mayGoOn.promise
    t.equal(await ws.receiveMessageAsync(), null)
    t.equal(ws.isClosed, false)
    t.equal(await ws.sendAsync('the last answer'), true)
    await ws.receiveMessageAsync()
    t.equal(ws.isClosed, true, 'a handler that asks again is polling')
  })
  const client = await openRaw(t, await listen(app), '/')
  client.write(frame('begin'))
  await begun.promise
  const { closed } = await beginToClose()
  mayGoOn.resolve()
  t.equal(await client.text(), 'the last answer')
  t.same(await client.close(), { code: 1001, reason: 'server shutting down' })
  client.write(closeFrame(1001))
  await closed
})

t.test('a handler that outlives its connection is awaited before the onClose hooks', async (t) => {
  const app = await buildApp(t)
  const beginToClose = declareWitness(app)
  const mayEnd = deferred()
  const events: string[] = []
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    await ws.closed
    await mayEnd.promise
    events.push('handler')
  })
  app.addHook('onClose', async () => { events.push('onClose') })
  const client = await openRaw(t, await listen(app), '/')
  client.write(closeFrame(1000))
  await client.closed
  const { closed } = await beginToClose()
  for (let i = 0; i < 100; i++) await nextTurn() // time enough to close an app that waits for nobody
  t.same(events, [])
  mayEnd.resolve()
  await closed
  t.same(events, ['handler', 'onClose'])
})

t.test('a WebSocketCloseError while the app closes chooses the code', async (t) => {
  const app = await buildApp(t)
  const ended = deferred<CloseInfo>()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    ws.closed.then(ended.resolve)
    await ws.receiveMessageAsync()
    throw new WebSocketCloseError(4000, 'mine')
  })
  const client = await openRaw(t, await listen(app), '/')
  const closed = app.close()
  t.same(await client.close(), { code: 4000, reason: 'mine' })
  client.write(closeFrame(4000))
  t.match(await ended.promise, { code: 4000, cause: 'handler-failed' })
  await closed
})

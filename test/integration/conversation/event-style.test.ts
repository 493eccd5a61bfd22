import { once } from 'node:events'
import t from 'tap'
import { WebSocket } from 'ws'
import type { CloseInfo } from '../../../index.js'
import { buildApp, listen, needsTcp } from '../../fixtures/app.js'
import { deferred } from '../../fixtures/deferred.js'
import { captureLog } from '../../fixtures/log.js'
import { closeFrame, connectRaw, frame, handshake, openRaw } from '../../fixtures/raw-client.js'

t.test('a { websocket: true } route hands the socket over, its first frame too', async (t) => {
  const { lines, logger } = captureLog()
  const app = await buildApp(t, { app: { logger } })
  app.get('/', { websocket: true }, function (socket, request) {
    t.equal(this, app)
    t.equal(request.ws, true)
    socket.on('message', (data) => socket.send(`${data}!`))
  })
  const client = await connectRaw(t, await listen(app))
  client.write(handshake('/'), frame('first'))
  t.match(await client.head(), /^HTTP\/1.1 101 /)
  t.equal(await client.text(), 'first!')
  client.write(closeFrame(1000))
  t.same(await client.close(), { code: 1000, reason: '' })
  t.equal((await app.inject('/')).statusCode, 404)
  await app.close()
  t.match(lines.filter(({ msg }) => msg === 'websocket closed'), [{ code: 1000, cause: 'peer' }])
})

t.test('wsHandler stands beside an HTTP handler', async (t) => {
  const app = await buildApp(t)
  app.route({ method: 'GET', url: '/', handler: async (request) => `http ${request.ws}`, wsHandler: (socket) => { socket.send('socket') } })
  const port = await listen(app)
  t.equal((await app.inject('/')).body, 'http false')
  t.equal((await app.inject({ method: 'HEAD', url: '/' })).statusCode, 200)
  t.equal(await (await openRaw(t, port, '/')).text(), 'socket')
})

t.test('what a handler with events throws goes to the errorHandler', async (t) => {
  const errors: string[] = []
  const app = await buildApp(t, {
    errorHandler (error, socket, request, reply) {
      t.equal(this, app)
      t.equal(reply.request, request)
      errors.push(error.message)
      socket.close(1011, 'by the errorHandler')
    }
  })
  app.get('/sync', { websocket: true }, () => { throw new Error('sync') })
  app.get('/async', { websocket: true }, async () => { throw new Error('async') })
  const port = await listen(app)
  for (const path of ['/sync', '/async']) {
    t.same(await (await openRaw(t, port, path)).close(), { code: 1011, reason: 'by the errorHandler' })
  }
  t.same(errors, ['sync', 'async'])
})

t.test('what a handler with events throws is logged and the connection terminated, where there is no errorHandler', async (t) => {
  const { lines, logger } = captureLog()
  const app = await buildApp(t, { app: { logger } })
  app.get('/', { websocket: true }, async () => { throw new Error('failed') })
  const client = await openRaw(t, await listen(app), '/')
  await client.closed
  t.ok(lines.some(({ level, msg }) => level === 50 && msg === 'failed'))
})

t.test('a handler with events that returns leaves its connection open', async (t) => {
  const app = await buildApp(t)
  app.get('/', { websocket: true }, async (socket) => {
    socket.on('message', (data) => socket.send(data.toString()))
  })
  const client = await openRaw(t, await listen(app), '/')
  client.write(frame('still open'))
  t.equal(await client.text(), 'still open')
})

t.test('getWebSocketAsync() in a handler with events gives the AsyncWebSocket, and the connection then ends with the handler', async (t) => {
  const app = await buildApp(t)
  const ended = deferred<CloseInfo>()
  app.get('/:end', { websocket: true }, async (socket, request) => {
    const promise = request.getWebSocketAsync()
    const ws = await promise
    t.equal(ws.socket, socket)
    ws.closed.then(ended.resolve)
    const message = await ws.receiveMessageAsync()
    await ws.sendAsync(`${message?.getString()}!`)
    if ((request.params as { end: string }).end === 'throw') throw new Error('failed')
  })
  const port = await listen(app)
  for (const [end, code] of [['return', 1000], ['throw', 1011]] as const) {
    const client = await connectRaw(t, port)
    client.write(handshake(`/${end}`), frame('first'))
    await client.head()
    t.equal(await client.text(), 'first!')
    t.match(await client.close(), { code })
    client.write(closeFrame(code))
  }
  t.match(await ended.promise, { code: 1000, cause: 'handler-returned' })
})

t.test('websocketServer emits connection for every route', needsTcp, async (t) => {
  const app = await buildApp(t)
  const urls: (string | undefined)[] = []
  app.websocketServer.on('connection', (_socket, request) => { urls.push(request.url) })
  app.get('/event', { websocket: true }, (socket) => { socket.close() })
  app.get('/awaited', async (request) => { await request.getWebSocketAsync() })
  const port = await listen(app)
  for (const path of ['/event', '/awaited']) {
    const client = new WebSocket(`ws://127.0.0.1:${port}${path}`)
    await once(client, 'close')
  }
  t.same(urls, ['/event', '/awaited'])
})

t.test('a handler with events that returns no promise and takes the AsyncWebSocket ends its connection itself', async (t) => {
  const app = await buildApp(t)
  app.get('/', { websocket: true }, (_socket, request) => {
    request.getWebSocketAsync().then(async (ws) => {
      const message = await ws.receiveMessageAsync()
      await ws.sendAsync(`got ${message?.getString()}`)
      await ws.closeAsync(4000)
    })
  })
  const client = await openRaw(t, await listen(app), '/')
  client.write(frame('it'))
  t.equal(await client.text(), 'got it')
  t.match(await client.close(), { code: 4000 })
})

t.test('the closing log line of an event-style route tells the cause', async (t) => {
  const { lines, logger } = captureLog()
  const app = await buildApp(t, { app: { logger }, maxPayload: 5 })
  app.get('/large', { websocket: true }, (socket) => { socket.on('message', () => {}) })
  app.get('/terminate', { websocket: true }, (socket) => { socket.terminate() })
  app.get('/close', { websocket: true }, (socket) => { socket.close(4000) })
  const port = await listen(app)
  for (const path of ['/large', '/terminate', '/close']) {
    const client = await openRaw(t, port, path)
    client.write(path === '/large' ? frame('more than five') : closeFrame(4000))
    await client.closed
  }
  await app.close()
  const ends = lines.filter(({ msg }) => msg === 'websocket closed')
  t.same(ends.map(({ cause }) => cause).sort(), ['local', 'protocol-error', 'terminated'])
  t.match(ends.find(({ cause }) => cause === 'local'), { received: { messages: 0 }, sent: { messages: 0, bytes: 0, dropped: 0 } })
})

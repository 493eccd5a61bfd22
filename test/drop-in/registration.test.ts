import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import upstream from '@fastify/websocket'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { WebSocketServer } from 'ws'
import websocketAsync from '../../index.js'
import { buildApp, listen } from '../fixtures/app.js'
import { deferred } from '../fixtures/deferred.js'
import { connectRaw, frame, handshake, openRaw } from '../fixtures/raw-client.js'

const ALREADY = { code: 'FST_WSA_ALREADY_REGISTERED' }

function build (t: Test): FastifyInstance {
  const app = Fastify()
  t.teardown(() => app.close())
  return app
}

function greet (app: FastifyInstance, path: string): void {
  app.get(path, async (request) => {
    const ws = await request.getWebSocketAsync()
    await ws.sendAsync('ours')
  })
}

t.test('the plugin registered twice is refused', async (t) => {
  const app = build(t)
  await app.register(websocketAsync)
  await t.rejects(async () => app.register(websocketAsync), { ...ALREADY, message: /fastify-websocket-async is registered on this server already/ })
})

t.test('the plugin registered after @fastify/websocket is refused', async (t) => {
  const app = build(t)
  await app.register(upstream)
  await t.rejects(async () => app.register(websocketAsync), { ...ALREADY, message: /@fastify\/websocket is registered .* in place of @fastify\/websocket$/ })
})

t.test('the plugin registered in two scopes of one server is refused', async (t) => {
  const app = build(t)
  for (let i = 0; i < 2; i++) app.register(async (app) => { await app.register(websocketAsync) })
  await t.rejects(async () => app.ready(), ALREADY)
})

for (const order of ['before', 'after']) {
  t.test(`@fastify/websocket in a scope of its own, registered ${order} ours`, async (t) => {
    const app = build(t)
    const addTheirs = async (app: FastifyInstance) => {
      await app.register(upstream)
      app.get('/theirs', { websocket: true }, (socket, request) => {
        socket.send(`theirs ${request.ws}`)
        socket.on('message', (message) => socket.send(String(message)))
      })
      app.get('/refused', { websocket: true, preValidation: async (_request, reply) => reply.code(403).send('no') }, () => {})
      app.get('/injected', async () => {
        let heard: Promise<unknown[]> | undefined
        const socket = await app.injectWS('/theirs', {}, { onInit: (socket) => { heard = once(socket, 'message') } })
        const [message] = await heard as unknown[] // it was called
        socket.terminate()
        return String(message)
      })
    }
    const addOurs = async (app: FastifyInstance) => {
      await app.register(websocketAsync, { upgradeTimeout: 50 })
      greet(app, '/ours')
      app.get('/undecided', async (request) => { await once(request.raw.socket, 'close') })
    }
    if (order === 'before') app.register(addTheirs).register(addOurs)
    else app.register(addOurs).register(addTheirs)
    const port = await listen(app)
    t.equal(app.server.listenerCount('upgrade'), 1)

    const theirs = await openRaw(t, port, '/theirs')
    t.equal(await theirs.text(), 'theirs true')
    t.equal(await (await openRaw(t, port, '/ours')).text(), 'ours')
    const refused = await connectRaw(t, port)
    refused.write(handshake('/refused'))
    t.match(await refused.all(), /^HTTP\/1\.1 403 .*\r\n\r\nno$/s)
    t.equal(await (await fetch(`http://127.0.0.1:${port}/injected`)).text(), 'theirs true')

    const undecided = await connectRaw(t, port)
    undecided.write(handshake('/undecided'))
    await undecided.closed
    theirs.write(frame('still there after upgradeTimeout'))
    t.equal(await theirs.text(), 'still there after upgradeTimeout')
    theirs.socket.destroy() // their server would wait for its answer to the close frame
  })
}

t.test('beside an @fastify/websocket whose listener is not the one we know', async (t) => {
  const listeners = [function other () {}, function onUpgrade () {}]
  for (const listener of listeners) {
    const app = build(t)
    app.register(async (app) => {
      await app.register(upstream)
      app.server.removeAllListeners('upgrade').on('upgrade', listener)
    })
    app.register(websocketAsync)
    await t.rejects(async () => app.ready(), ALREADY)
  }
})

t.test('the plugin registered in one scope serves that scope', async (t) => {
  const app = build(t)
  app.get('/plain', async (request) => String(request.getWebSocketAsync))
  await app.register(async (app) => {
    await app.register(websocketAsync)
    greet(app, '/')
  })
  t.equal(await (await openRaw(t, await listen(app), '/')).text(), 'ours')
  t.equal((await app.inject('/plain')).body, 'undefined')
})

t.test('one app after another on a server of the application', async (t) => {
  const server = createServer()
  t.teardown(() => { server.close() })
  const before = [server.listenerCount('connection'), server.listenerCount('request')]
  for (let i = 0; i < 2; i++) {
    const app = await buildApp(t, { options: { server } })
    await app.ready()
    t.equal(server.listenerCount('upgrade'), 1)
    await app.close()
    t.equal(server.listenerCount('upgrade'), 0)
    t.same([server.listenerCount('connection'), server.listenerCount('request')], before)
  }
})

for (const order of ['before', 'after']) {
  t.test(`another upgrade listener, there ${order} ours, takes what is its own`, async (t) => {
    const app = build(t)
    const server = new WebSocketServer({ noServer: true })
    const takeTheirs = (raw: IncomingMessage, socket: Duplex, head: Buffer) => {
      if (raw.url === '/theirs') server.handleUpgrade(raw, socket, head, (socket) => { socket.send('theirs') })
    }
    if (order === 'before') app.server.on('upgrade', takeTheirs)
    await app.register(websocketAsync)
    if (order === 'after') app.server.on('upgrade', takeTheirs)
    greet(app, '/ours')
    const port = await listen(app)
    t.equal(await (await openRaw(t, port, '/ours')).text(), 'ours')
    const theirs = await openRaw(t, port, '/theirs')
    t.equal(await theirs.text(), 'theirs')
    for (const client of server.clients) {
      client.terminate()
      await once(client, 'close')
    }
  })
}

t.test('a request for which the app has no route is left to a listener that answers it in a later turn', async (t) => {
  const app = await buildApp(t)
  const server = new WebSocketServer({ noServer: true })
  const mayTake = deferred()
  app.server.on('upgrade', async (raw: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (raw.url !== '/theirs') return
    await mayTake.promise // it looks up a session
    server.handleUpgrade(raw, socket, head, (socket) => { socket.send('theirs') })
  })
  greet(app, '/ours')
  app.addHook('preClose', async () => { for (const client of server.clients) client.terminate() })
  const port = await listen(app)
  const theirs = await connectRaw(t, port)
  theirs.write(handshake('/theirs'))
  t.equal(await (await openRaw(t, port, '/ours')).text(), 'ours')
  mayTake.resolve()
  t.match(await theirs.head(), /^HTTP\/1.1 101/)
  t.equal(await theirs.text(), 'theirs')
  await app.close()
})

t.test('a request that is left to other listeners and that none of them takes ends at upgradeTimeout', async (t) => {
  const app = await buildApp(t, { upgradeTimeout: 50 })
  app.server.on('upgrade', () => {})
  const client = await connectRaw(t, await listen(app))
  client.write(handshake('/nowhere'))
  t.equal(await client.all(), '')
})

t.test('a request that is left to other listeners does not hold up app.close()', async (t) => {
  const app = await buildApp(t, { upgradeTimeout: Infinity, shutdown: { timeout: 1_000_000, grace: 0 }, app: { pluginTimeout: 0 } })
  const heard = deferred()
  app.server.on('upgrade', () => { setImmediate(heard.resolve) })
  const client = await connectRaw(t, await listen(app))
  client.write(handshake('/nowhere'))
  await heard.promise
  await app.close()
  t.equal(await client.all(), '')
})

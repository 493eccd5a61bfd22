import { once } from 'node:events'
import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { buildApp, listen } from '../../fixtures/app.js'
import { deferred } from '../../fixtures/deferred.js'
import { closeFrame, connectRaw, handshake, type RawClient } from '../../fixtures/raw-client.js'

// Every method × Upgrade header × kind of route × state of the app ends with a defined answer and no socket left open

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS']
const upgrades = ['websocket', 'WebSocket', 'h2c', 'websocket, h2c', 'TLS/1.0', undefined]
const routes = ['plain', 'socket', 'event', 'none'] as const

type Route = typeof routes[number]

/** The status of the answer to each cell, while the app is ready. */
function expected (method: string, upgrade: string | undefined, route: Route): number {
  if (route === 'none') return 404
  if (!['GET', 'HEAD', 'POST'].includes(method)) return 404
  if (route === 'plain') return 200
  const isUpgrade = method === 'GET' && upgrade?.toLowerCase() === 'websocket'
  if (route === 'socket') return isUpgrade ? 101 : 426
  if (method === 'POST') return 404 // a route of events is for GET alone
  return isUpgrade ? 101 : 404
}

async function declareRoutes (t: Test) {
  const app = await buildApp(t)
  app.route({ method: ['GET', 'POST'], url: '/plain', handler: async () => 'plain' })
  app.route({ method: ['GET', 'POST'], url: '/socket', handler: async (request) => { await request.getWebSocketAsync() } })
  app.get('/event', { websocket: true }, (socket) => { socket.close(1000) })
  const sockets = new Set<Socket>()
  app.server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  return { app, sockets }
}

/** The status of the answer; a WebSocket is closed politely. */
async function answer (client: RawClient): Promise<number> {
  const head = await client.head()
  const status = Number(head.slice(9, 12))
  if (status !== 101) return status
  await client.close()
  client.write(closeFrame(1000))
  return status
}

function request (method: string, upgrade: string | undefined, route: string): string {
  const headers = upgrade === undefined ? { Upgrade: undefined, Connection: 'close' } : { Upgrade: upgrade, Connection: 'Upgrade, close' }
  return handshake(`/${route}`, { ...headers, ...(method === 'POST' && { 'Content-Length': '0' }) }, `${method} /${route} HTTP/1.1`)
}

/** Of this process, both ends counted. */
function openSockets (): string[] {
  return process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap')
}

t.test('every kind of request to every kind of route gets its status while the app is ready', async (t) => {
  const { app, sockets } = await declareRoutes(t)
  const port = await listen(app)
  for (const method of methods) {
    for (const upgrade of upgrades) {
      for (const route of routes) {
        const client = await connectRaw(t, port)
        client.write(request(method, upgrade, route))
        t.equal(await answer(client), expected(method, upgrade, route), `${method} ${upgrade} ${route}`)
        await client.closed
      }
    }
  }
  while (sockets.size > 0) await once([...sockets][0] as Socket, 'close')
  t.same(openSockets(), [])
  t.equal(app.websocketServer.clients.size, 0)
})

t.test('every kind of request to every kind of route gets its status while the app is closing', async (t) => {
  const cells = methods.flatMap((method) => upgrades.flatMap((upgrade) => routes.map((route) => [method, upgrade, route] as const)))
  const { app, sockets } = await declareRoutes(t)
  const isClosing = deferred()
  const mayClose = deferred()
  app.addHook('preClose', async () => {
    isClosing.resolve()
    await mayClose.promise
  })
  const port = await listen(app)
  const clients = await Promise.all(cells.map(() => connectRaw(t, port)))
  const closed = app.close()
  await isClosing.promise
  for (const [i, [method, upgrade, route]] of cells.entries()) {
    const client = clients[i] as RawClient
    client.write(request(method, upgrade, route))
    t.equal(await answer(client), 503, `${method} ${upgrade} ${route}`)
    await client.closed
  }
  mayClose.resolve()
  await closed
  t.equal(sockets.size, 0)
  t.same(openSockets(), [])
})

t.test('an app that answers while it closes accepts no WebSocket', async (t) => {
  const app = await buildApp(t, { app: { return503OnClosing: false } })
  const isClosing = deferred()
  const mayClose = deferred()
  app.addHook('preClose', async () => {
    isClosing.resolve()
    await mayClose.promise
  })
  app.get('/plain', async () => 'plain')
  app.get('/socket', async (request) => { await request.getWebSocketAsync() })
  app.get('/event', { websocket: true }, (socket) => { socket.close(1000) })
  const port = await listen(app)
  const clients = { plain: await connectRaw(t, port), socket: await connectRaw(t, port), event: await connectRaw(t, port) }
  const closed = app.close()
  await isClosing.promise
  for (const [route, client] of Object.entries(clients)) {
    client.write(handshake(`/${route}`))
    t.match(await client.all(), route === 'plain' ? /^HTTP\/1.1 200 / : /^HTTP\/1.1 503 [^]*FST_WSA_APP_CLOSING/, route)
  }
  mayClose.resolve()
  await closed
})

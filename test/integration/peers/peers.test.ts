import t, { type Test } from 'tap'
import type { AsyncWebSocket, CloseInfo } from '../../../index.js'
import { buildApp, listen } from '../../fixtures/app.js'
import { deferred } from '../../fixtures/deferred.js'
import { startPeer } from '../../fixtures/processes/peer.js'
import { closeFrame, frame, openRaw, type RawClient } from '../../fixtures/raw-client.js'
import { until } from '../../fixtures/wait.js'

const interval = 600
const timeout = 400
const NOTICED = interval + timeout + 1000

/** What a handler does while its peer leaves. */
const handlers = {
  'is idle': (ws: AsyncWebSocket) => ws.closed,
  'waits for a message': (ws: AsyncWebSocket) => ws.receiveMessageAsync(),
  'is stalled, and reading paused': (ws: AsyncWebSocket) => ws.closed
}

async function start (t: Test, handler: (ws: AsyncWebSocket) => unknown) {
  const app = await buildApp(t, { keepAlive: { interval, timeout } })
  const opened = deferred<AsyncWebSocket>()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    opened.resolve(ws)
    await handler(ws)
    await ws.closed
  })
  return { port: await listen(app), opened: opened.promise }
}

/** More than a stalled handler's connection takes before it pauses reading, in one write. */
async function fill (client: RawClient, ws: AsyncWebSocket): Promise<void> {
  client.write(...Array.from({ length: 200 }, () => frame('x')))
  await untilPaused(ws)
}

function untilPaused (ws: AsyncWebSocket): Promise<void> {
  return until('reading is paused', () => ws.socket.isPaused)
}

/** Resolves at the second next ping of the keep-alive: by then the peer was judged by its answer to the first. */
function twoPings ({ socket }: AsyncWebSocket): Promise<void> {
  return new Promise((resolve) => {
    const { ping } = socket
    let count = 0
    socket.ping = (...args: unknown[]) => {
      Reflect.apply(ping, socket, args)
      if (++count < 2) return
      socket.ping = ping
      resolve()
    }
  })
}

for (const [name, handler] of Object.entries(handlers)) {
  const isPaused = name.includes('paused')

  t.test(`a peer whose process is stopped is noticed by the keep-alive, while the handler ${name}`, async (t) => {
    const { port, opened } = await start(t, handler)
    const peer = await startPeer(t, port, '/')
    const ws = await opened
    if (isPaused) {
      peer.say('send 200')
      t.equal(await peer.hear(), 'sent')
      await untilPaused(ws)
    }
    peer.stop()
    const start0 = performance.now()
    const info = await ws.closed
    const took = performance.now() - start0
    t.match(info, { code: 1006, cause: 'keep-alive', wasClean: false, unread: isPaused ? 200 : 0 })
    t.ok(took < NOTICED, `noticed after ${took} ms`)
  })

  t.test(`a peer that half-closes is noticed as connection-lost, while the handler ${name}`, async (t) => {
    const { port, opened } = await start(t, handler)
    const client = await openRaw(t, port, '/')
    const ws = await opened
    if (isPaused) await fill(client, ws)
    client.socket.end()
    const start0 = performance.now()
    t.match(await ws.closed, { code: 1006, cause: 'connection-lost', unread: isPaused ? 200 : 0 })
    t.ok(performance.now() - start0 < NOTICED)
  })

  t.test(`a peer that sends a close frame gets its answer, while the handler ${name}`, async (t) => {
    const { port, opened } = await start(t, handler)
    const client = await openRaw(t, port, '/')
    const ws = await opened
    if (isPaused) await fill(client, ws)
    client.write(closeFrame(4001, 'bye'))
    const start0 = performance.now()
    t.match(await ws.closed, { code: 4001, reason: 'bye', cause: 'peer', wasClean: true, unread: isPaused ? 200 : 0 })
    t.ok(performance.now() - start0 < NOTICED)
  })
}

t.test('a peer that flooded and then stopped is noticed when the handler reads on', async (t) => {
  const mayRead = deferred()
  let received = 0
  const { port, opened } = await start(t, async (ws) => {
    await mayRead.promise
    for await (const message of ws) received += message.length
  })
  const peer = await startPeer(t, port, '/')
  const ws = await opened
  peer.say('flood')
  t.equal(await peer.hear(), 'held back')
  await twoPings(ws) // what waits to be read is more than the keep-alive reads
  peer.stop()
  await twoPings(ws)
  t.equal(ws.isClosed, false, 'whether it lives is not known')
  const start0 = performance.now()
  mayRead.resolve()
  t.match(await ws.closed, { code: 1006, cause: 'keep-alive', unread: 0 })
  const took = performance.now() - start0
  t.ok(took < NOTICED, `noticed after ${took} ms`)
  t.ok(received > 64 * 1024)
})

t.test('the keep-alive does not terminate a healthy peer of a stalled handler, however much it has sent', async (t) => {
  for (const command of ['send 10', 'send 200', 'flood']) {
    const mayRead = deferred()
    const done = deferred<number>()
    const { port, opened } = await start(t, async (ws) => {
      await mayRead.promise
      let count = 0
      while (await ws.receiveMessageAsync({ timeout: 300 }) !== null) count++
      done.resolve(count)
    })
    const peer = await startPeer(t, port, '/')
    const ws = await opened
    peer.say(command)
    await twoPings(ws)
    await twoPings(ws)
    t.equal(ws.isClosed, false, command)
    mayRead.resolve()
    t.ok(await done.promise >= 10)
    await twoPings(ws)
    t.equal(ws.isClosed, false, `${command}, after the handler has read on`)
    ws.terminate()
  }
})

t.test('an event loop that was blocked for longer than the deadline terminates no connection', { timeout: 60_000 }, async (t) => {
  const connections = 1000
  const app = await buildApp(t, { keepAlive: { interval, timeout } })
  const infos: CloseInfo[] = []
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    infos.push(await ws.closed)
  })
  await startPeer(t, await listen(app), '/', connections)
  const oneOfThem = () => [...app.webSockets].at(-1) as AsyncWebSocket // they are all open
  for (let round = 0; round < 3; round++) {
    await twoPings(oneOfThem())
    const end = performance.now() + 3 * (interval + timeout)
    while (performance.now() < end);
  }
  await twoPings(oneOfThem())
  t.same(infos, [])
  t.equal(app.websocketServer.clients.size, connections)
  for (const client of app.websocketServer.clients) client.terminate()
})

t.test('pingAsync() resolves to the round trip, which latency then has, and to null after the end', async (t) => {
  const app = await buildApp(t, { keepAlive: false })
  const done = deferred()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    t.equal(ws.latency, null)
    const latency = await ws.pingAsync()
    t.ok(latency !== null && latency > 0 && latency < 1000, `${latency} ms`)
    t.equal(ws.latency, latency)
    await ws.closeAsync()
    t.equal(await ws.pingAsync(), null)
    done.resolve()
  })
  const peer = await startPeer(t, await listen(app), '/')
  await done.promise
  t.equal(await peer.hear(), 'closed 1000')
})

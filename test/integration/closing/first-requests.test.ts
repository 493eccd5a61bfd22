import { once } from 'node:events'
import t from 'tap'
import { buildApp, listen, needsTcp } from '../../fixtures/app.js'
import { connectRaw, handshake, openRaw } from '../../fixtures/raw-client.js'

t.test('clients that have not sent a whole request head are disconnected at shutdown.timeout', needsTcp, async (t) => {
  const app = await buildApp(t, { shutdown: { timeout: 200 } })
  app.server.headersTimeout = 0 // so Node alone would wait for ever
  app.get('/', async (request) => { await (await request.getWebSocketAsync()).closed })
  const port = await listen(app)
  const half = handshake('/').slice(0, 40)
  const clients = await Promise.all(Array.from({ length: 20 }, () => connectRaw(t, port)))
  clients.forEach((client, i) => { if (i > 0) client.write(half) }) // one of them has sent nothing
  const conversation = await openRaw(t, port, '/')
  await app.close()
  t.equal((await conversation.close()).code, 1001)
  await Promise.all(clients.map(({ closed }) => closed))
})

t.test('a request that the app answers late is not disconnected with them', needsTcp, async (t) => {
  const app = await buildApp(t, { shutdown: { timeout: 50 } })
  const half = handshake('/').slice(0, 40)
  app.get('/late', async () => {
    const client = await connectRaw(t, port)
    client.write(half)
    const closing = app.close()
    await client.closed // so the deadline has passed
    return { closing: closing instanceof Promise }
  })
  const port = await listen(app)
  const client = await connectRaw(t, port)
  client.write('GET /late HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
  t.match(await client.all(), /^HTTP\/1.1 200/)
})

t.test('a connection that closes before its first request leaves no listener behind', needsTcp, async (t) => {
  const app = await buildApp(t)
  const port = await listen(app)
  const accepted = once(app.server, 'connection')
  const client = await connectRaw(t, port)
  const [socket] = await accepted
  const before = socket.listenerCount('close')
  client.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
  t.match(await client.head(), /404/)
  t.equal(socket.listenerCount('close'), before - 1)
  client.socket.destroy()
})

import { once } from 'node:events'
import t from 'tap'
import { InjectRefusedError, type AsyncWebSocket, type CloseInfo } from '../../index.js'
import { buildApp } from '../fixtures/app.js'
import { deferred } from '../fixtures/deferred.js'
import { until } from '../fixtures/wait.js'

t.test('a conversation, before the app listens', async (t) => {
  const app = await buildApp(t)
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    await ws.sendAsync('first')
    for await (const message of ws) await ws.sendAsync(message.isBinary ? message.bytes : `${message.getString()}!`)
  })
  const client = await app.injectWebSocketAsync('/')
  t.equal((await client.receiveMessageAsync())?.getString(), 'first', 'what the handler says first is not lost')
  t.equal(await client.sendAsync('hello'), true)
  const message = await client.receiveMessageAsync({ timeout: 1000 })
  t.equal(message?.getString(), 'hello!')
  t.equal(message?.sender, client)
  await client.sendAsync(Buffer.from([1, 2]))
  t.match(await client.receiveMessageAsync(), { isBinary: true, length: 2 })
  t.equal(await client.receiveMessageAsync({ timeout: 0 }), null)
  t.match(await client.closeAsync(4000, 'bye'), { code: 4000, reason: 'bye', wasClean: true, cause: 'local' })
  t.equal(client.isClosed, true)
})

t.test('the server closes, and iteration and await using end', async (t) => {
  const app = await buildApp(t)
  const infos: CloseInfo[] = []
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    ws.closed.then((info) => infos.push(info))
    for (const text of ['a', 'b', 'c']) await ws.sendAsync(text)
    if (request.query !== null && 'wait' in (request.query as object)) await ws.receiveMessageAsync()
  })
  const client = await app.injectWebSocketAsync('/')
  const texts = []
  for await (const message of client) texts.push(message.getString())
  t.same(texts, ['a', 'b', 'c'])
  t.match(await client.closed, { code: 1000, wasClean: true, cause: 'peer' })
  let disposed
  {
    await using other = await app.injectWebSocketAsync('/?wait')
    disposed = other.closed
  }
  t.match(await disposed, { code: 1000, cause: 'local' })
  await app.close()
  t.match(infos, [{ code: 1000, cause: 'handler-returned' }, { code: 1000, cause: 'peer' }])
})

t.test('what the app sees of the client', async (t) => {
  const app = await buildApp(t, { app: { trustProxy: true }, origin: 'https://a.test' })
  app.get('/', async (request) => {
    const { ip, ips, host, protocol, headers } = request
    const ws = await request.getWebSocketAsync({ subprotocol: 'b' })
    await ws.sendAsync(JSON.stringify({ ip, ips, host, protocol, who: headers['x-who'], subprotocol: ws.subprotocol }))
  })
  const client = await app.injectWebSocketAsync('/', {
    headers: { 'x-who': 'me', 'x-forwarded-for': '10.2.2.2', 'x-forwarded-proto': 'https', origin: 'https://a.test' },
    subprotocols: ['a', 'b'],
    remoteAddress: '10.1.1.1'
  })
  t.same((await client.receiveMessageAsync())?.json(), {
    ip: '10.2.2.2', ips: ['10.1.1.1', '10.2.2.2'], host: 'localhost', protocol: 'https', who: 'me', subprotocol: 'b'
  })
  t.equal(client.subprotocol, 'b')
  await t.rejects(app.injectWebSocketAsync('/', { headers: { origin: 'https://b.test' }, subprotocols: 'b' }), /upgrade with 403/)
})

t.test('an HTTP answer rejects', async (t) => {
  const app = await buildApp(t)
  app.get('/', async (_request, reply) => reply.code(402).header('x-price', '5').send({ pay: true }))
  const error = await app.injectWebSocketAsync('/').then(() => t.fail('it was accepted'), (error: unknown) => error)
  if (!(error instanceof InjectRefusedError)) return t.fail(String(error))
  t.equal(error.statusCode, 402)
  t.equal(error.headers['x-price'], '5')
  t.same(error.json(), { pay: true })
  await t.rejects(app.injectWebSocketAsync('/nowhere'), /upgrade with 404: .*Not Found/)
  const start = performance.now()
  await app.close()
  t.ok(performance.now() - start < 1000, 'nothing is left open')
  await t.rejects(app.injectWebSocketAsync('/'), /upgrade with 503/)
})

t.test('pings, compression and handlerTimeout are as over TCP', async (t) => {
  const app = await buildApp(t, { compression: { threshold: 0 }, keepAlive: { interval: 50, timeout: 50 } })
  const opened = deferred<AsyncWebSocket>()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    opened.resolve(ws)
    for await (const message of ws) await ws.sendAsync(message.getString())
  })
  app.get('/late', { handlerTimeout: 20 }, async (request) => {
    await once(request.signal, 'abort') // at handlerTimeout
    return request.getWebSocketAsync()
  })
  const client = await app.injectWebSocketAsync('/')
  const ws = await opened.promise
  t.match(ws.socket.extensions, /permessage-deflate/)
  t.ok(await client.pingAsync() !== null)
  t.ok(await ws.pingAsync() !== null)
  await client.sendAsync('x'.repeat(10_000))
  t.equal((await client.receiveMessageAsync())?.length, 10_000)
  const { latency } = ws
  await until('the keep-alive has pinged on its own', () => ws.latency !== latency)
  t.equal(ws.isClosed, false, 'the client answers the pings of the keep-alive')
  await t.rejects(app.injectWebSocketAsync('/late'), /upgrade with 503/)
})

t.test('a client that behaves badly', async (t) => {
  const app = await buildApp(t, { closeTimeout: 100, keepAlive: { interval: 100, timeout: 100 } })
  let opened = deferred<AsyncWebSocket>()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    opened.resolve(ws)
    await ws.receiveMessageAsync()
  })
  async function open () {
    opened = deferred()
    const client = await app.injectWebSocketAsync('/')
    return { client, ws: await opened.promise }
  }
  await t.test('terminate()', async (t) => {
    const { client, ws } = await open()
    client.terminate()
    t.match(await ws.closed, { code: 1006, cause: 'connection-lost', wasClean: false })
    t.match(await client.closed, { code: 1006, cause: 'terminated' })
  })
  await t.test('halfClose()', async (t) => {
    const { client, ws } = await open()
    client.halfClose()
    t.match(await ws.closed, { code: 1006, cause: 'connection-lost', wasClean: false })
  })
  await t.test('ignoreClose()', async (t) => {
    const { client, ws } = await open()
    client.ignoreClose()
    const start = performance.now()
    t.match(await ws.closeAsync(4000), { code: 4000, cause: 'local', wasClean: false })
    t.ok(performance.now() - start >= 95, 'after closeTimeout')
    await client.closed
  })
  await t.test('pause()', async (t) => {
    const { client, ws } = await open()
    client.pause()
    let sent = 0
    while (sent < 100 && await ws.sendAsync(Buffer.alloc(64 * 1024), { timeout: 0 })) sent++
    t.ok(sent < 10, `${sent} messages before the sender has to wait`)
    t.match(await ws.closed, { code: 1006, cause: 'keep-alive' })
  })
  await t.test('pause() and resume()', async (t) => {
    const { client, ws } = await open()
    client.pause()
    const sends = Promise.all(Array.from({ length: 20 }, (_, i) => ws.sendAsync(`${i}`.padEnd(32 * 1024))))
    client.resume()
    t.ok((await sends).every(Boolean))
    for (let i = 0; i < 20; i++) t.equal((await client.receiveMessageAsync())?.getString().trim(), `${i}`)
    await client.closeAsync()
  })
})

t.test('app.close() ends the client', async (t) => {
  const app = await buildApp(t)
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    await ws.receiveMessageAsync()
  })
  const client = await app.injectWebSocketAsync('/')
  const [info] = await Promise.all([client.closed, app.close()])
  t.match(info, { code: 1001, reason: 'server shutting down', wasClean: true })
  t.same(process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout'), [])
})

t.test('a bad argument is refused before anything is opened', async (t) => {
  const app = await buildApp(t)
  let requests = 0
  app.addHook('onRequest', async () => { requests++ })
  app.get('/*', (request) => request.getWebSocketAsync())
  const odd = undefined as never
  for (const path of ['abc', '', ' /', '@localhost/', ':80/', '.evil.test/', '?query', '/path#fragment', 'http://localhost/', odd, null, 5, {}]) {
    await t.rejects(app.injectWebSocketAsync(path as string), { code: 'FST_WSA_INVALID_ARGUMENT', message: /^Invalid argument path: / }, `path ${path}`)
  }
  const bad = {
    options: [null, 5, 'text'],
    headers: [null, 5, 'text', [], { 'a b': 'x' }, { a: 'x\r\nb: y' }, { a: undefined }],
    subprotocols: [null, 5, {}, '', 'a b', 'a,b', ['a', 'a'], ['a', 5], [undefined]],
    remoteAddress: [null, 5, {}]
  }
  for (const [name, values] of Object.entries(bad)) {
    for (const value of values) {
      const options = name === 'options' ? value : { [name]: value }
      await t.rejects(app.injectWebSocketAsync('/', options as never), { code: 'FST_WSA_INVALID_ARGUMENT', message: new RegExp(`^Invalid argument ${name}`) }, `${name} ${JSON.stringify(value)}`)
    }
  }
  t.equal(requests, 0)
  for (const path of ['/', '//a', '/a?b=/c', '/%C3%A4', '/ä b']) await (await app.injectWebSocketAsync(path, { headers: {}, subprotocols: 'a' })).closeAsync()
  t.equal(requests, 5)
})

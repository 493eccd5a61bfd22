// What libraries and frameworks do with a request and with the socket of ws
import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { createWebSocketStream, WebSocket } from 'ws'
import type { AsyncWebSocket } from '../../../index.js'
import { buildApp, listen } from '../../fixtures/app.js'
import { deferred } from '../../fixtures/deferred.js'
import { captureLog } from '../../fixtures/log.js'
import { closeFrame, frame, openRaw } from '../../fixtures/raw-client.js'

t.test('an empty reply that a framework sends after the upgrade is ignored, and any other throws', async (t) => {
  const { lines, logger } = captureLog()
  const app = await buildApp(t, { app: { logger } })
  app.get('/', async (request, reply) => {
    const ws = await request.getWebSocketAsync()
    t.equal(reply.send(undefined), reply)
    t.throws(() => reply.send(null), { code: 'FST_WSA_REPLY_ALREADY_SENT' })
    t.throws(() => reply.send('text'), { code: 'FST_WSA_REPLY_ALREADY_SENT' })
    await ws.sendAsync('still open')
  })
  const client = await app.injectWebSocketAsync('/')
  t.equal((await client.receiveMessageAsync())?.getString(), 'still open')
  t.match(await client.closed, { code: 1000 })
  t.same(lines.filter(({ level }) => level > 30), [])
})

t.test('listeners get the binaryType that a library sets, and the receive queue gets Buffers', async (t) => {
  const sent = Buffer.from([1, 2, 3, 250])
  const types = ['nodebuffer', 'arraybuffer', 'fragments', 'blob'] as const
  for (const type of types) {
    const app = await buildApp(t)
    let heard: unknown
    const opened = once(app.webSockets, 'open') as Promise<[AsyncWebSocket]>
    app.get('/', async (request) => {
      const ws = await request.getWebSocketAsync()
      ws.socket.binaryType = type as 'nodebuffer'
      t.equal(ws.socket.binaryType, type)
      ws.socket.once('message', (data) => { heard = data })
      const message = await ws.receiveMessageAsync()
      t.ok(Buffer.isBuffer(message?.bytes), type)
      t.same(message?.bytes, sent)
      t.equal(message?.length, 4)
      await ws.receiveMessageAsync()
    })
    const client = await openRaw(t, await listen(app), '/')
    const [ws] = await opened
    client.write(frame(sent, { opcode: 2 }))
    client.write(frame('text'))
    client.write(closeFrame(1000))
    t.match(await ws.closed, { code: 1000 })
    if (type === 'nodebuffer') t.ok(Buffer.isBuffer(heard))
    if (type === 'arraybuffer') t.same(Buffer.from(heard as ArrayBuffer), sent)
    if (type === 'fragments') t.same(heard, [sent])
    if (type === 'blob') t.same(Buffer.from(await (heard as Blob).arrayBuffer()), sent)
  }
})

t.test('the byte mark of the receive queue holds under every binaryType', async (t) => {
  for (const type of ['arraybuffer', 'fragments', 'blob']) {
    const app = await buildApp(t, { receiveHighWaterMark: { bytes: 1024 } })
    const opened = once(app.webSockets, 'open') as Promise<[AsyncWebSocket]>
    app.get('/', async (request) => {
      const ws = await request.getWebSocketAsync()
      ws.socket.binaryType = type as 'arraybuffer'
      await ws.sendAsync('ready')
      await ws.closed
    })
    const client = await openRaw(t, await listen(app), '/')
    await client.text()
    const [ws] = await opened
    const paused = once(ws.request.raw.socket, 'pause')
    client.write(frame(Buffer.alloc(2048), { opcode: 2 }))
    await paused
    t.equal(ws.socket.isPaused, true, type)
    ws.terminate()
  }
})

t.test('an event that is emitted by hand reaches the listeners and changes nothing else', async (t) => {
  const app = await buildApp(t)
  const opened = once(app.webSockets, 'open') as Promise<[AsyncWebSocket]>
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    await ws.closed
  })
  const client = await app.injectWebSocketAsync('/')
  const [ws] = await opened
  const heard: unknown[] = []
  for (const name of ['close', 'message', 'pong']) ws.socket.on(name, (...args) => heard.push([name, ...args]))
  ws.socket.emit('close')
  ws.socket.emit('close', 1000, Buffer.from('by hand'))
  ws.socket.emit('message')
  ws.socket.emit('message', { odd: true }, true)
  ws.socket.emit('pong')
  t.same(heard, [['close'], ['close', 1000, Buffer.from('by hand')], ['message'], ['message', { odd: true }, true], ['pong']])
  t.equal(ws.isClosed, false)
  t.equal(ws.closeInfo, null)
  await client.closeAsync(4001)
  const info = await ws.closed
  t.match(info, { code: 4001, cause: 'peer' })
  let closes = 0
  app.webSockets.on('close', () => closes++)
  ws.socket.emit('close', 1000, Buffer.alloc(0))
  await nextTurn()
  t.equal(closes, 0)
  t.equal(ws.closeInfo, info)
})

t.test('once something listens to ws.socket and nothing was received, all messages go to the listeners alone, in order', async (t) => {
  const app = await buildApp(t)
  const opened = once(app.webSockets, 'open') as Promise<[AsyncWebSocket]>
  const isAuthorised = deferred()
  const heard: number[][] = [[], []]
  const all = deferred()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    await isAuthorised.promise
    for (const numbers of heard) {
      ws.socket.on('message', (data) => {
        numbers.push(Number(data.toString()))
        if (numbers.length === 300) all.resolve()
      })
    }
    await ws.closed
  })
  const client = await openRaw(t, await listen(app), '/')
  const [ws] = await opened
  const paused = once(ws.request.raw.socket, 'pause')
  const numbers = Array.from({ length: 300 }, (_, i) => i)
  client.write(...numbers.slice(0, 100).map((i) => frame(`${i}`)))
  await paused
  isAuthorised.resolve()
  client.write(...numbers.slice(100).map((i) => frame(`${i}`)))
  await all.promise
  t.same(heard, [numbers, numbers])
  client.write(closeFrame(1000))
  t.match(await ws.closed, { cause: 'peer', unread: 0 })
})

t.test('where messages are received and listened to, both get each of them, and the queue holds back the peer', async (t) => {
  const app = await buildApp(t, { receiveHighWaterMark: { messages: 4 } })
  const opened = once(app.webSockets, 'open') as Promise<[AsyncWebSocket]>
  const heard: string[] = []
  const mayReceive = deferred()
  const received: string[] = []
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    ws.socket.on('message', (data) => heard.push(data.toString()))
    received.push((await ws.receiveMessageAsync())?.getString() ?? 'none')
    await mayReceive.promise
    for await (const message of ws) received.push(message.getString())
  })
  const client = await openRaw(t, await listen(app), '/')
  const [ws] = await opened
  const paused = once(ws.request.raw.socket, 'pause')
  const messages = Array.from({ length: 10 }, (_, i) => `${i}`)
  client.write(...messages.map((text) => frame(text)))
  await paused
  t.same(received, ['0'])
  mayReceive.resolve()
  client.write(closeFrame(1000))
  await ws.closed
  await nextTurn()
  t.same(received, messages)
  t.same(heard, messages)
})

t.test('a listener that was there before the handler had its connection takes no message from it', async (t) => {
  const app = await buildApp(t)
  const watched: string[] = []
  const hasWatched = deferred()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    await hasWatched.promise
    for await (const message of ws) await ws.sendAsync(message.getString())
  })
  await app.ready()
  app.websocketServer.on('connection', (socket) => socket.on('message', (data) => {
    watched.push(data.toString())
    hasWatched.resolve()
  }))
  const client = await openRaw(t, await listen(app), '/')
  client.write(frame('a'), frame('b'))
  t.equal(await client.text(), 'a')
  t.equal(await client.text(), 'b')
  t.same(watched, ['a', 'b'])
})

t.test('createWebSocketStream() takes everything from an awaited connection that it is handed', async (t) => {
  const app = await buildApp(t)
  const opened = once(app.webSockets, 'open') as Promise<[AsyncWebSocket]>
  const mayStream = deferred()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    await mayStream.promise
    const stream = createWebSocketStream(ws.socket)
    stream.pipe(stream)
    await ws.closed
  })
  const client = await app.injectWebSocketAsync('/')
  const [ws] = await opened
  const paused = once(ws.request.raw.socket, 'pause')
  const chunks = Array.from({ length: 300 }, (_, i) => Buffer.alloc(1000, i))
  const sent = Promise.all(chunks.map((chunk) => client.sendAsync(chunk)))
  await paused
  mayStream.resolve()
  const echoes: Buffer[] = []
  for await (const { bytes } of client) {
    echoes.push(bytes)
    if (Buffer.concat(echoes).length === 300_000) break
  }
  await sent
  t.ok(Buffer.concat(echoes).equals(Buffer.concat(chunks)))
  t.equal((await client.closeAsync()).code, 1000)
})

t.test('a close by the peer is clean and its own, also where the answer goes out without a call of close(), as on Bun', async (t) => {
  const app = await buildApp(t)
  const opened = once(app.webSockets, 'open') as Promise<[AsyncWebSocket]>
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    ws.socket.close = WebSocket.prototype.close // in place of ours, which notes what it sends
    await ws.receiveMessageAsync()
  })
  const client = await openRaw(t, await listen(app), '/')
  const [ws] = await opened
  client.write(closeFrame(4001, 'bye'))
  t.same(await client.close(), { code: 4001, reason: 'bye' })
  t.match(await ws.closed, { code: 4001, reason: 'bye', cause: 'peer', wasClean: true })
})

// What libraries and frameworks do with a request and with the socket of ws
import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import type { AsyncWebSocket } from '../../index.js'
import { buildApp, listen } from '../fixtures/app.js'
import { captureLog } from '../fixtures/log.js'
import { closeFrame, frame, openRaw } from '../fixtures/raw-client.js'

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

t.test('whatever binaryType a library sets, it gets that, and the receive queue gets Buffers that count', async (t) => {
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

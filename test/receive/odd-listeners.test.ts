import { Duplex } from 'node:stream'
import { test, type Test } from 'tap'
import { WebSocket } from 'ws'
import type { FastifyInstance } from 'fastify'
import type { AsyncWebSocket, WebSocketAsyncOptions } from '../../index.js'
import { buildApp } from '../fixtures/app.js'
import { frame } from '../fixtures/frames.js'
import { KEY } from '../fixtures/raw-client.js'

const HEADERS = { host: 'x', connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': KEY }

/** A connection over a stream in this process, into which a test pushes what the client sends. */
async function connection (t: Test, onWrite: (written: Buffer) => void, options: WebSocketAsyncOptions = {}): Promise<{ ws: AsyncWebSocket, stream: Duplex, app: FastifyInstance }> {
  const app = await buildApp(t, { ...options, keepAlive: false })
  const opened = new Promise<AsyncWebSocket>((resolve) => {
    app.get('/', async (request) => {
      const ws = await request.getWebSocketAsync()
      resolve(ws)
      await ws.closed
    })
  })
  await app.ready()
  const stream = new Duplex({
    read () {},
    write (chunk: Buffer, _encoding, done) {
      onWrite(chunk)
      done()
    }
  })
  t.teardown(() => stream.destroy())
  app.server.emit('upgrade', { method: 'GET', url: '/', httpVersion: '1.1', headers: HEADERS }, stream, Buffer.alloc(0))
  return { ws: await opened, stream, app }
}

const inTwo = (bytes: Buffer) => [bytes.subarray(0, 30), bytes.subarray(30)]

async function texts (ws: AsyncWebSocket, count: number): Promise<string[]> {
  const received: string[] = []
  while (received.length < count) received.push((await ws.receiveMessageAsync())?.getString() ?? 'the end')
  return received
}

test('the answer of a client that answers at once comes after the rest of the read', async (t) => {
  const { ws, stream } = await connection(t, (written) => { if (written.includes('go on')) stream.push(frame('answer')) })
  ws.socket.on('message', (data) => { if (String(data) === 'one') ws.socket.send('go on') })
  ws.tryReceive()
  stream.push(Buffer.concat([frame('one'), frame('two'), frame('three')]))
  t.same(await texts(ws, 4), ['one', 'two', 'three', 'answer'])
})

test('a message that a replaced emit() has put in the place of an ASCII one is decoded as UTF-8', async (t) => {
  const { ws, stream } = await connection(t, () => {})
  const { emit } = ws.socket
  ws.socket.emit = function (this: WebSocket, name: string, data: unknown, ...rest: unknown[]): boolean {
    return Reflect.apply(emit, this, [name, name === 'message' ? Buffer.from(String(data), 'base64') : data, ...rest])
  } as typeof emit
  const text = 'é'.repeat(30)
  for (const part of inTwo(frame(Buffer.from(text).toString('base64')))) stream.push(part)
  t.same(await texts(ws, 1), [text])
})

test('a message after one that a replaced emit() has swallowed is decoded as UTF-8', async (t) => {
  const { ws, stream } = await connection(t, () => {})
  const { emit } = ws.socket
  ws.socket.emit = function (this: WebSocket, name: string, data: unknown, ...rest: unknown[]): boolean {
    return String(data).startsWith('heartbeat') ? false : Reflect.apply(emit, this, [name, data, ...rest])
  } as typeof emit
  for (const part of inTwo(frame('heartbeat'.repeat(9)))) stream.push(part)
  stream.push(frame('Grüße'))
  t.same(await texts(ws, 1), ['Grüße'])
})

test('a replaced emit() of the class of sockets sees every message', async (t) => {
  const { ws, stream, app } = await connection(t, () => {})
  const { prototype } = app.websocketServer.options.WebSocket as typeof WebSocket
  const { emit } = prototype
  const seen: string[] = []
  prototype.emit = function (this: WebSocket, name: string, data: unknown, ...rest: unknown[]): boolean {
    if (name === 'message') seen.push(String(data))
    return Reflect.apply(emit, this, [name, data, ...rest])
  } as typeof emit
  stream.push(frame('one'))
  await texts(ws, 1)
  t.same(seen, ['one'])
})

test('bytes that the application has changed are decoded as UTF-8', async (t) => {
  const { ws, stream } = await connection(t, () => {})
  stream.push(frame('ab', { opcode: 2 }))
  const message = await ws.receiveMessageAsync()
  message?.bytes.write('é')
  t.equal(message?.getString(), 'é')
})

test('a connection ends also after something has wrapped the listener with which ws reads', async (t) => {
  const { ws, stream } = await connection(t, () => {})
  const [wsOnData] = stream.listeners('data') as [(chunk: Buffer) => void]
  stream.off('data', wsOnData)
  stream.on('data', (chunk) => wsOnData.call(stream, chunk))
  stream.push(frame('one'))
  t.same(await texts(ws, 1), ['one'])
  stream.destroy()
  t.equal((await ws.closed).cause, 'connection-lost')
})
test('a class of sockets may listen to the bytes when it opens', async (t) => {
  class CountingWebSocket extends WebSocket {
    bytesSeen = 0
    constructor (...args: [any]) {
      super(...args)
      this.on('open', () => {
        const { _socket: transport } = this as unknown as { _socket: Duplex } // ws has it, though its types do not
        transport.on('data', ({ length }: Buffer) => { this.bytesSeen += length })
      })
    }
  }
  const { ws, stream } = await connection(t, () => {}, { options: { WebSocket: CountingWebSocket as unknown as NonNullable<WebSocketAsyncOptions['options']>['WebSocket'] } }) // the type wants the statics of the whole module, too
  stream.push(frame('one'))
  stream.push(frame('two'))
  t.same(await texts(ws, 2), ['one', 'two'])
  t.equal((ws.socket as CountingWebSocket).bytesSeen, 18)
})

for (const how of ['closeAsync', 'terminate'] as const) {
  test(`messages that came in one read are received after ${how}(), also behind a fragmented text`, async (t) => {
    const { ws, stream } = await connection(t, () => {})
    const first = ws.receiveMessageAsync()
    stream.push(Buffer.concat([frame('one'), frame('t', { fin: false }), frame('wo', { opcode: 0 }), frame('three')]))
    t.equal((await first)?.getString(), 'one')
    ws[how]()?.catch(() => {})
    t.same(await texts(ws, 3), ['two', 'three', 'the end'])
  })
}

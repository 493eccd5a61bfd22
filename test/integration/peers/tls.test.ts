import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FastifyServerOptions } from 'fastify'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { isInProcess, buildApp, listen, type Options } from '../../fixtures/app.js'
import { newCertificate } from '../../fixtures/processes/certificate.js'
import { deferred } from '../../fixtures/deferred.js'
import { findOpenssl, needs } from '../../fixtures/processes/programs.js'

const openssl = findOpenssl()
const needsTls = isInProcess ? { skip: 'it needs TCP' } : needs('openssl', openssl)

const SIZES = [...Array.from({ length: 300 }, (_, i) => i), 1_500, 5_000, 16_384, 16_385, 65_535, 65_536, 100_000]
const textOf = (size: number, seed: number) => `${seed}:`.padEnd(size, String.fromCharCode(97 + seed % 26))

async function buildTlsApp (t: Test, options: Options = {}) {
  const https = newCertificate(openssl)
  return await buildApp(t, { ...options, app: { https } as FastifyServerOptions }) // the type of the fixture is that of a plain server
}

async function connect (t: Test, port: number, path: string): Promise<{ socket: WebSocket, texts: string[] }> {
  const socket = new WebSocket(`wss://127.0.0.1:${port}${path}`, { rejectUnauthorized: false })
  t.teardown(() => socket.terminate())
  const texts: string[] = []
  socket.on('message', (data) => texts.push(String(data)))
  await once(socket, 'open')
  return { socket, texts }
}

t.test('over TLS every message comes back as it was, in order, however many are in flight', needsTls, async (t) => {
  const app = await buildTlsApp(t)
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    for await (const message of ws) await ws.sendAsync(message.getString())
  })
  const { socket, texts } = await connect(t, await listen(app), '/')
  const sent: string[] = []
  for (let round = 0; round < 5; round++) {
    for (const [i, size] of SIZES.entries()) {
      const text = textOf(size, round * 1000 + i)
      sent.push(text)
      socket.send(text)
      if (i % (round * 20 + 1) === 0) await nextTurn()
    }
  }
  while (texts.length < sent.length) await once(socket, 'message')
  t.equal(texts.findIndex((text, i) => text !== sent[i]), -1)
})

t.test('over TLS what is published together comes to each as it was', needsTls, async (t) => {
  const app = await buildTlsApp(t)
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    await ws.subscribeAsync('all')
    await ws.sendAsync('subscribed')
    await ws.closed
  })
  const port = await listen(app)
  const clients = await Promise.all(Array.from({ length: 20 }, () => connect(t, port, '/')))
  for (const { socket, texts } of clients) {
    while (texts.length < 1) await once(socket, 'message')
  }
  const sent = Array.from({ length: 200 }, (_, i) => textOf(i % 10 === 0 ? 3_000 : 20, i))
  for (const [i, text] of sent.entries()) {
    app.webSockets.publishAsync('all', text)
    if (i % 3 === 2) await nextTurn()
  }
  for (const { socket, texts } of clients) {
    while (texts.length < sent.length + 1) await once(socket, 'message')
    t.same(texts, ['subscribed', ...sent])
  }
})

t.test('over TLS masks come off before ws reads', needsTls, async (t) => {
  const app = await buildTlsApp(t)
  const read = deferred<Buffer>()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    request.raw.socket.on('data', (chunk: Buffer) => read.resolve(chunk)) // what ws has read before
    await ws.closed
  })
  const { socket } = await connect(t, await listen(app), '/')
  socket.send('x'.repeat(100))
  t.same([...(await read.promise).subarray(2, 6)], [0, 0, 0, 0], 'the mask')
})

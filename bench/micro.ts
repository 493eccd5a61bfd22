/** Measures single calls, in this process and without a network. */
import Fastify from 'fastify'
import { bench, do_not_optimize as keep, group, run } from 'mitata'
import websocketAsync from '../index.js'
import { writeFrame } from '../lib/send/frame.js'
import { Message } from '../lib/receive/message.js'
import { receiveLimits } from '../lib/receive/receive-limits.js'
import { ReceiveQueue } from '../lib/receive/receive-queue.js'
import { Sender, type SendTransport } from '../lib/send/sender.js'

const MANY = 32
const MESSAGE = 'x'.repeat(125)
const WIDE = 'ü'.repeat(62) + 'u'
const LIMITS = receiveLimits({ messages: 64, bytes: 1024 * 1024 }, 1024 * 1024)

const newQueue = () => new ReceiveQueue<Message<null>>(LIMITS, { pauseReading: () => {}, resumeReading: () => {}, receiveOnEnd: () => {} })

group('receive queue', () => {
  const queue = newQueue()
  const message = new Message(Buffer.alloc(125), 0, 125, false, true, null)

  bench('a message that is already queued', async () => {
    queue.push(message)
    keep(await queue.receive())
  })

  bench('a message that comes later', async () => {
    const received = queue.receive()
    queue.push(message)
    keep(await received)
  })

  bench('a message that comes later, with a timeout', async () => {
    const received = queue.receive(30_000)
    queue.push(message)
    keep(await received)
  })

  bench('a message that comes later, with a signal', async () => {
    const received = queue.receive(undefined, idle)
    queue.push(message)
    keep(await received)
  })

  bench(`${MANY} messages that are already queued`, async () => {
    for (let i = 0; i < MANY; i++) queue.push(message)
    for (let i = 0; i < MANY; i++) keep(await queue.receive())
  })
})

const idle = new AbortController().signal

group('framing', () => {
  const target = Buffer.alloc(64 * 1024)
  const bytes = Buffer.from(MESSAGE)

  bench('125 bytes of ASCII', () => { keep(writeFrame(target, 0, MESSAGE, 125)) })
  bench('125 bytes of other text', () => { keep(writeFrame(target, 0, WIDE, 125)) })
  bench('125 bytes, binary', () => { keep(writeFrame(target, 0, bytes, 125)) })
})

group('sender, to a transport that does nothing', () => {
  const transport: SendTransport = { isOpen: true, bufferedAmount: 0, cost: 0, messageCost: 0, send: () => {}, sendBatch: () => {}, publish: () => {}, flush: () => {}, offer: () => true }
  const sender = new Sender(transport, { highWaterMark: 64 * 1024, maxBufferedBytes: 16 * 1024 * 1024 })

  bench('a message, awaited', async () => { keep(await sender.send(MESSAGE)) })
})

const app = Fastify()
await app.register(websocketAsync)
app.get('/', async (request) => {
  const ws = await request.getWebSocketAsync()
  for await (const message of ws) await ws.sendAsync(message.getString())
})

group('conversation, client and server in this process', () => {
  bench('upgrade and closing handshake', async () => {
    const client = await app.injectWebSocketAsync('/')
    keep(await client.closeAsync())
  })
})

const client = await app.injectWebSocketAsync('/')

group('echo of 125 bytes, client and server in this process', () => {
  bench('one message', async () => {
    await client.sendAsync(MESSAGE)
    keep(await client.receiveMessageAsync())
  })

  bench(`${MANY} messages together`, async () => {
    for (let i = 0; i < MANY; i++) client.sendAsync(MESSAGE)
    for (let i = 0; i < MANY; i++) keep(await client.receiveMessageAsync())
  })
})

await run()
await client.closeAsync()
await app.close()
process.exit() // the timer of the receive queue would keep the process running

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import type { AsyncWebSocket } from '../../../index.js'
import { streamPair } from '../../../lib/testing/stream-pair.js'
import { buildApp, listen, needsTcp, type Options } from '../../fixtures/app.js'
import { deferred } from '../../fixtures/deferred.js'
import { compressed, DEFLATE } from '../../fixtures/deflate.js'
import { measureMemory, MiB, type Memory } from '../../fixtures/memory.js'
import { frame, handshake } from '../../fixtures/raw-client.js'
import { untilSteady } from '../../fixtures/wait.js'

// What a connection keeps in memory, heap and buffers, against the bounds of the README's "Memory", under traffic that makes the
// most of each byte that is sent.

t.setTimeout(300_000)

const CONNECTIONS = 3
const READ = 64 * 1024
const READS = 320 // more than any bound here, where each of them is kept
const [TEXT, BINARY, CONTINUATION, PING, PONG] = [1, 2, 0, 9, 10]

// By default
const RECEIVING = 1.5 * MiB + 4 * MiB + 2.5 * MiB
const FRAGMENTS = 2048 * 300 + MiB // and what else there is
const SENDING = 16 * MiB + 0.5 * MiB
const ANSWERS = 6.5 * MiB

interface Traffic {
  readonly name: string
  /** In bytes. */
  readonly bound: number
  readonly options?: Options
  /** What each client sends: `first`, then `block` so many times. */
  readonly first?: Buffer
  readonly block?: Buffer
  readonly times?: number
  /** The network takes nothing any more when the handler begins. */
  readonly isStalled?: boolean
  readonly handle: (ws: AsyncWebSocket, app: FastifyInstance) => Promise<unknown>
}

/** As many bytes as a read, most of them in pongs: the message may keep all of it. */
function amongPongs (message: Buffer): Buffer {
  const frames = [message]
  for (let left = READ - message.length; left > 0;) {
    const size = left <= 131 ? left : Math.min(131, left - 6) // with a header of 6 bytes
    frames.push(frame(Buffer.alloc(size - 6), { opcode: PONG }))
    left -= size
  }
  return Buffer.concat(frames)
}

function repeated (count: number, bytes: Buffer): Buffer {
  return Buffer.concat(Array<Buffer>(count).fill(bytes))
}

/** Calls it so often, some in each turn of the event loop. */
async function repeatedly (count: number, perTurn: number, call: (i: number) => unknown): Promise<void> {
  for (let i = 0; i < count; i++) {
    call(i)
    if (i % perTurn === perTurn - 1) await nextTurn()
  }
}

const never = (ws: AsyncWebSocket) => ws.closed
const looks: Options = { keepAlive: { interval: 60, timeout: 30_000 } }
const compressing: Options = { compression: true }

const received: readonly Traffic[] = [
  { name: 'one-byte messages among pongs', bound: RECEIVING, block: amongPongs(frame('x')), times: READS, handle: never },
  { name: 'one-byte messages among pongs, with looks of the keep-alive', bound: RECEIVING, options: looks, block: amongPongs(frame('x')), times: READS, handle: never },
  {
    name: 'one-byte messages among pongs, with a mark of 100,000 messages',
    bound: RECEIVING,
    options: { receiveHighWaterMark: { messages: 100_000 } },
    block: amongPongs(frame('x')),
    times: READS,
    handle: never
  },
  { name: 'one-byte messages, with looks of the keep-alive', bound: RECEIVING, options: looks, block: repeated(9000, frame('x')), times: 50, handle: never },
  { name: 'messages of half a read among pongs', bound: RECEIVING, options: looks, block: amongPongs(frame(Buffer.alloc(READ / 2), { opcode: BINARY })), times: READS, handle: never },
  { name: 'messages of 1 MiB', bound: RECEIVING, options: looks, block: frame(Buffer.alloc(MiB), { opcode: BINARY }), times: 40, handle: never },
  { name: 'messages that inflate a thousandfold', bound: RECEIVING, options: { ...looks, ...compressing }, block: compressed(Buffer.alloc(MiB), BINARY), times: READS, handle: never },
  { name: 'one-byte messages among pongs, with compression', bound: RECEIVING, options: { ...looks, ...compressing }, block: amongPongs(compressed('x')), times: READS, handle: never },
  {
    name: 'one-byte fragments among pongs',
    bound: FRAGMENTS,
    first: frame('x', { fin: false }),
    block: amongPongs(frame('x', { opcode: CONTINUATION, fin: false })),
    times: READS,
    handle: never
  },
  {
    name: 'as many one-byte fragments as may come',
    bound: FRAGMENTS,
    first: frame('x', { fin: false }),
    block: frame('x', { opcode: CONTINUATION, fin: false }),
    times: 2047,
    handle: never
  }
]

const answered: readonly Traffic[] = [
  { name: 'pings whose answers are not read', bound: ANSWERS, block: repeated(10_000, frame(Buffer.alloc(125), { opcode: PING })), times: 1, handle: never },
  { name: 'pings among pongs, whose answers are not read', bound: ANSWERS, block: amongPongs(frame(Buffer.alloc(125), { opcode: PING })), times: READS, handle: never },
  {
    name: 'an echo of 20 bytes among pongs',
    bound: SENDING,
    options: { sendHighWaterMark: 1024 },
    block: amongPongs(frame(Buffer.alloc(20), { opcode: BINARY })),
    times: READS,
    handle: async (ws) => { for await (const { bytes } of ws) ws.sendAsync(bytes) }
  },
  {
    name: 'an echo of 17 KiB among pongs',
    bound: SENDING,
    block: amongPongs(frame(Buffer.alloc(17 * 1024), { opcode: BINARY })),
    times: READS,
    handle: async (ws) => { for await (const { bytes } of ws) ws.sendAsync(bytes) }
  },
  {
    name: 'a part of each text that was received',
    bound: SENDING,
    block: frame('x'.repeat(MiB / 4), { opcode: TEXT }),
    times: 160,
    handle: async (ws) => { for await (const message of ws) ws.sendAsync(message.getString().slice(100, 1100)) }
  }
]

const sent: readonly Traffic[] = [
  { name: 'one-byte texts', bound: SENDING, handle: (ws) => repeatedly(100_000, 5_000, () => ws.sendAsync('x')) },
  { name: 'one-byte texts, one in a turn', bound: SENDING, handle: (ws) => repeatedly(60_000, 1, () => ws.sendAsync('x')) },
  { name: 'one-byte texts with a timeout', bound: SENDING, handle: (ws) => repeatedly(50_000, 5_000, () => ws.sendAsync('x', { timeout: 600_000 })) },
  { name: '20-byte texts', bound: SENDING, handle: (ws) => repeatedly(500_000, 5_000, (i) => ws.sendAsync(`${i}`.padEnd(20))) },
  { name: '20-byte Buffers', bound: SENDING, handle: (ws) => repeatedly(100_000, 5_000, () => ws.sendAsync(Buffer.alloc(20))) },
  { name: '20-byte texts, with compression', bound: SENDING, options: compressing, handle: (ws) => repeatedly(100_000, 5_000, (i) => ws.sendAsync(`${i}`.padEnd(20))) },
  { name: 'text of two bytes a character', bound: SENDING, handle: (ws) => repeatedly(30_000, 1000, (i) => ws.sendAsync(`${'x'.repeat(1000)}→${i}`)) },
  { name: 'messages of 1 MiB', bound: SENDING, handle: (ws) => repeatedly(100, 1, () => ws.sendAsync(Buffer.alloc(MiB))) }
]

const published: readonly Traffic[] = [
  { name: 'publications of 20 bytes', bound: SENDING, handle: (ws, app) => publish(ws, app, 100_000, 5_000, (i) => `${i}`.padEnd(20)) },
  { name: 'publications of 2 KiB', bound: SENDING, handle: (ws, app) => publish(ws, app, 30_000, 1_000, () => 'x'.repeat(2048)) },
  { name: 'publications of 100 KiB', bound: SENDING, handle: (ws, app) => publish(ws, app, 1000, 10, () => Buffer.alloc(100 * 1024)) }
]

/** In the handler of one connection, for all. */
async function publish (ws: AsyncWebSocket, app: FastifyInstance, count: number, perTurn: number, data: (i: number) => string | Buffer): Promise<void> {
  const [first] = app.webSockets
  if (ws === first) await repeatedly(count, perTurn, (i) => app.webSockets.publishAsync('topic', data(i)))
}

/** Sends until the network takes no more. */
async function stall (ws: AsyncWebSocket): Promise<void> {
  for (let turns = 0; turns < 10; turns++) {
    if (ws.socket.bufferedAmount === 0) turns = 0
    while (ws.socket.bufferedAmount === 0) ws.socket.send(Buffer.alloc(16 * 1024), { compress: false })
    await nextTurn()
  }
}

/** Waits until nothing moves any more: bytes that come, and bytes that wait. */
async function quiet (connections: Iterable<AsyncWebSocket>): Promise<void> {
  const read = () => Array.from(connections, ({ request, bufferedBytes }) => `${request.raw.socket.bytesRead} ${bufferedBytes}`).join()
  await untilSteady('what was read and what waits', read, 300, 30_000)
}

/** Clients that do not read, in a process of their own; call it and they begin to send. */
async function startClients (t: Test, port: number, { options, first = Buffer.alloc(0), block = Buffer.alloc(0), times = 0 }: Traffic): Promise<() => void> {
  const child = spawn(process.execPath, [fileURLToPath(new URL('../../fixtures/processes/memory-peer.mjs', import.meta.url))], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const headers = options?.compression === true ? Object.entries(DEFLATE).map(([name, value]) => `${name}: ${value}`) : []
  const job = { port, path: '/', headers, connections: CONNECTIONS, first: first.toString('base64'), block: block.toString('base64'), times }
  child.stdin.write(JSON.stringify(job) + '\n')
  await once(child.stdout, 'data')
  return () => child.stdin.write('go\n')
}

/** What each of the connections keeps, in bytes. */
async function measure (t: Test, traffic: Traffic): Promise<Memory> {
  const { options, isStalled, handle } = traffic
  const app = await buildApp(t, { slowConsumer: 'drop', ...options })
  const mayStart = deferred()
  const ready: Promise<unknown>[] = []
  const handled: Promise<unknown>[] = []
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    await ws.subscribeAsync('topic')
    const start = isStalled === true ? stall(ws) : Promise.resolve()
    ready.push(start)
    handled.push(start.then(() => mayStart.promise).then(() => handle(ws, app)))
    await ws.closed
  })
  const send = await startClients(t, await listen(app), traffic)
  await Promise.all(ready)
  const before = await measureMemory()
  mayStart.resolve()
  send()
  if (traffic.block === undefined) await Promise.all(handled)
  await quiet(app.webSockets)
  const after = await measureMemory()
  t.equal(app.webSockets.size, CONNECTIONS, 'all are open')
  for (const ws of app.webSockets) ws.terminate()
  return { used: (after.used - before.used) / CONNECTIONS, rss: (after.rss - before.rss) / CONNECTIONS }
}

for (const [title, kinds, isStalled] of [
  ['to a handler that does not receive', received, false],
  ['to a client that does not read, not awaited', [...answered, ...sent, ...published], true]
] as const) {
  t.test(`memory of a connection is bounded: ${title}`, { ...needsTcp, timeout: 240_000 }, async (t) => {
    for (const traffic of kinds) {
      await t.test(traffic.name, { timeout: 60_000 }, async (t) => {
        const { used, rss } = await measure(t, { ...traffic, isStalled })
        t.comment(`${(used / MiB).toFixed(1)} MiB, of at most ${(traffic.bound / MiB).toFixed(1)}; resident: ${(rss / MiB).toFixed(1)}`)
        t.ok(used < traffic.bound, `${used} bytes`)
        t.ok(rss < 2 * traffic.bound + 16 * MiB, `${rss} bytes resident`) // the allocator frees when it likes
      })
    }
  })
}

t.test('memory of a connection is bounded: a frame that comes byte by byte', { timeout: 60_000 }, async (t) => {
  const app = await buildApp(t)
  app.get('/', async (request) => (await request.getWebSocketAsync()).closed)
  await app.ready()
  const [client, server] = streamPair()
  t.teardown(() => client.destroy())
  server.remoteAddress = '127.0.0.1'
  app.server.emit('connection', server)
  client.write(handshake('/'))
  await once(client, 'data')
  const answers: Buffer[] = []
  client.on('data', (chunk: Buffer) => answers.push(chunk))

  const before = await measureMemory()
  const bytes = frame(Buffer.alloc(MiB), { opcode: BINARY })
  let peak = 0
  for (let i = 0; i < 20_000 && answers.length === 0; i++) {
    await new Promise((resolve) => client.write(Buffer.from([bytes[i] as number]), resolve))
    if (i % 500 === 499) peak = Math.max(peak, (await measureMemory()).used - before.used)
  }
  t.comment(`${(peak / MiB).toFixed(1)} MiB`)
  t.ok(peak < 2 * MiB, `${peak} bytes`)
  t.equal(answers[0]?.readUInt16BE(2), 1008)
})

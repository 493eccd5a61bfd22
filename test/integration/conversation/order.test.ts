import { createHash, randomBytes } from 'node:crypto'
import { getEventListeners, once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import type { AsyncWebSocket, WebSocketAsyncOptions, WebSocketMessage } from '../../../index.js'
import { buildApp, connectTo, listen } from '../../fixtures/app.js'
import { frame, openRaw } from '../../fixtures/raw-client.js'

/** What a handler may do, with what the peer has to see of it: nothing for a pause. */
const steps = {
  text: (ws: AsyncWebSocket, tag: string) => { ws.sendAsync(tag) },
  awaited: (ws: AsyncWebSocket, tag: string) => ws.sendAsync(tag),
  wide: (ws: AsyncWebSocket, tag: string) => { ws.sendAsync(tag + '→'.repeat(40)) },
  binary: (ws: AsyncWebSocket, tag: string) => { ws.sendAsync(Buffer.from(tag)) },
  long: (ws: AsyncWebSocket, tag: string) => { ws.sendAsync(tag + '.'.repeat(70_000)) },
  uncopied: (ws: AsyncWebSocket, tag: string) => { ws.sendAsync(Buffer.from(tag + '.'.repeat(20_000))) },
  published: (ws: AsyncWebSocket, tag: string) => { publish(ws, tag) },
  publishedBytes: (ws: AsyncWebSocket, tag: string) => { publish(ws, Buffer.from(tag + '.'.repeat(20_000))) },
  publishedLong: (ws: AsyncWebSocket, tag: string) => { publish(ws, tag + '.'.repeat(70_000)) },
  raw: (ws: AsyncWebSocket, tag: string) => { ws.socket.send(tag) },
  ping: (ws: AsyncWebSocket, tag: string) => { ws.socket.ping(tag) },
  pong: (ws: AsyncWebSocket, tag: string) => { ws.socket.pong(tag) },
  microtask: () => null,
  turn: () => setImmediate()
}

// Each connection is subscribed to a topic of its own
function publish ({ request }: AsyncWebSocket, data: string | Buffer): void {
  request.server.webSockets.publishAsync(request.id, data)
}

type Step = keyof typeof steps

const script = fc.array(fc.constantFrom(...Object.keys(steps) as Step[]), { maxLength: 40 })

const isSeen = (step: Step) => step !== 'microtask' && step !== 'turn'
const isControl = (entry: string) => /^ping|^pong/.test(entry)

/** Starts a server whose handler runs a script. The function runs one on a connection of its own and gives what the client received, in order. */
async function startScripts (t: Test, options: WebSocketAsyncOptions, isClosedRaw = false): Promise<(script: Step[]) => Promise<string[]>> {
  const app = await buildApp(t, options)
  let running: Step[] = []
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    await ws.subscribeAsync(request.id)
    for (const [i, step] of running.entries()) await steps[step](ws, `${step} ${i}`)
    if (isClosedRaw) ws.socket.close(4000)
    else await ws.closeAsync(4000)
    await ws.closed
  })
  const port = await listen(app)
  return async (script) => {
    running = script
    const seen: string[] = []
    const socket = new WebSocket('ws://localhost/', { createConnection: () => connectTo(port) })
    const note = (bytes: Buffer) => { seen.push(/^\w+ \d+/.exec(bytes.toString('latin1', 0, 20))?.[0] ?? '?') }
    socket.on('message', note).on('ping', note).on('pong', note)
    const [code] = await once(socket, 'close')
    return [...seen, `close ${code}`]
  }
}

function expected (script: Step[]): string[] {
  return [...script.map((step, i) => `${step} ${i}`).filter((_, i) => isSeen(script[i] as Step)), 'close 4000']
}

for (const [compression, isClosedRaw] of [[false, false], [false, true], [true, false]] as const) {
  t.test(`everything goes out in the order of the calls${compression ? ', compressed' : ''}${isClosedRaw ? ', closed by ws' : ''}`, { timeout: 60_000 }, async (t) => {
    const run = await startScripts(t, { sendHighWaterMark: Infinity, maxBufferedBytes: Infinity, compression }, isClosedRaw)
    await fc.assert(fc.asyncProperty(script, async (script) => {
      const seen = await run(script)
      if (seen.join() !== expected(script).join()) throw new Error(`saw ${seen.join(', ')}`)
    }), { numRuns: compression ? 300 : 2000 })
    t.pass('no counterexample')
  })
}

t.test('messages that wait for room keep their order, which raw ones keep too; a ping need not wait with them', { timeout: 60_000 }, async (t) => {
  const run = await startScripts(t, { sendHighWaterMark: 50 })
  await fc.assert(fc.asyncProperty(script, async (script) => {
    const seen = await run(script)
    const ofMessages = (entries: string[]) => entries.filter((entry) => !isControl(entry)).join()
    if (ofMessages(seen) !== ofMessages(expected(script))) throw new Error(`saw ${seen.join(', ')}`)
    if ([...seen].sort().join() !== expected(script).sort().join()) throw new Error(`lost or made up: ${seen.join(', ')}`)
  }), { numRuns: 1000 })
  t.pass('no counterexample')
})

const hash = (bytes: Buffer) => createHash('sha1').update(bytes).digest('base64')

const incoming = fc.record({
  sizes: fc.array(fc.oneof(fc.nat(200), fc.constantFrom(0, 125, 126, 65_535, 65_536)), { minLength: 1, maxLength: 30 }),
  cuts: fc.array(fc.nat(), { maxLength: 20 }),
  ways: fc.array(fc.constantFrom('wait', 'poll', 'try', 'iterate', 'timeout', 'signal'), { minLength: 1, maxLength: 6 })
})

t.test('however the bytes are split, every message is received once, in order, in every way to receive', { timeout: 60_000 }, async (t) => {
  const app = await buildApp(t)
  let ways: string[] = []
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    const iterator = ws[Symbol.asyncIterator]()
    const receive: Record<string, () => unknown> = {
      wait: () => ws.receiveMessageAsync(),
      poll: () => ws.receiveMessageAsync({ timeout: 0 }),
      try: () => ws.tryReceive() ?? setImmediate(null),
      iterate: async () => (await iterator.next()).value ?? null,
      timeout: () => ws.receiveMessageAsync({ timeout: 1 }),
      signal: () => ws.receiveMessageAsync({ signal: AbortSignal.timeout(1) })
    }
    for (let i = 0, count = 0; !ws.hasEnded; i++) {
      const message = await receive[ways[i % ways.length] as string]?.() as WebSocketMessage | null
      if (message !== null) await ws.sendAsync(`${count++}:${hash(message.bytes)}`)
    }
  })
  const port = await listen(app)
  await fc.assert(fc.asyncProperty(incoming, async ({ sizes, cuts, ...rest }) => {
    ways = rest.ways
    const client = await openRaw(t, port, '/')
    const messages = sizes.map((size) => randomBytes(size))
    const bytes = Buffer.concat(messages.map((message) => frame(message, { opcode: 2 })))
    const places = cuts.map((cut) => cut % bytes.length).sort((a, b) => a - b)
    for (const [i, place] of [...places, bytes.length].entries()) {
      client.write(bytes.subarray(places[i - 1] ?? 0, place))
      await setImmediate()
    }
    for (const [i, message] of messages.entries()) {
      const text = await client.text()
      if (text !== `${i}:${hash(message)}`) throw new Error(`message ${i}, of ${message.length} bytes, came as ${text}`)
    }
    client.socket.destroy()
    await client.closed
  }), { numRuns: 500 })
  t.pass('no counterexample')
})

t.test('many receives and sends of many connections wait with one signal, which has one listener', async (t) => {
  const app = await buildApp(t)
  const controller = new AbortController()
  const { signal } = controller
  const results: Promise<unknown>[] = []
  const warnings: string[] = []
  const processOnWarning = ({ name }: Error) => warnings.push(name)
  process.on('warning', processOnWarning)
  t.teardown(() => process.off('warning', processOnWarning))
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    for (let i = 0; i < 20; i++) results.push(ws.receiveMessageAsync({ signal }), ws.sendAsync(Buffer.alloc(512 * 1024), { signal }))
    await ws.closed
  })
  const port = await listen(app)
  for (let i = 0; i < 3; i++) (await openRaw(t, port, '/')).socket.pause()
  t.equal(results.length, 120)
  t.equal(getEventListeners(signal, 'abort').length, 1)
  controller.abort()
  const settled = await Promise.all(results)
  t.equal(settled.filter((result) => result === null).length, 60, 'each receive has ended')
  t.ok(settled.includes(false), 'and each send')
  t.equal(getEventListeners(signal, 'abort').length, 0)
  t.same(warnings, [])
})

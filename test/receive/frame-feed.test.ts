import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { Duplex } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import { WebSocketServer, type ServerOptions, type WebSocket } from 'ws'
import { feedFrames } from '../../lib/receive/frame-feed.js'
import { compressed, deflate, DEFLATE, fragments, RSV1 } from '../fixtures/deflate.js'
import { closeFrame, frame, KEY } from '../fixtures/raw-client.js'

const DEFERRED: ServerOptions = { allowSynchronousEvents: false }
const COMPRESSED: ServerOptions = { perMessageDeflate: true }
const BOTH: ServerOptions = { ...DEFERRED, ...COMPRESSED }

/** A transport without a network: what the test sends can be read at once. */
class Transport extends Duplex {
  #lingers: number

  /** @param lingers so many turns of the event loop between `destroy()` and 'close' */
  constructor (lingers = 0) {
    super()
    this.#lingers = lingers
  }

  /** Lets the server read a copy, whose masks it may take off in place. */
  send (bytes: Buffer): void {
    if (bytes.length > 0 && !this.destroyed && !this.readableEnded) this.push(Buffer.from(bytes))
  }

  override _read (): void {}

  override async _destroy (error: Error | null, done: (error: Error | null) => void): Promise<void> {
    while (this.#lingers-- > 0) await nextTurn()
    done(error)
  }

  override _write (_chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    done()
  }

  /** The server has ended its side: so does the client. */
  override _final (done: () => void): void {
    done()
    if (!this.readableEnded && !this.destroyed) this.push(null)
  }
}

interface Session {
  readonly socket: WebSocket
  readonly transport: Transport
  /** What `ws` emitted, in order. */
  readonly events: string[]
  readonly isFed: boolean
  readonly closed: Promise<unknown>
}

/** A socket of `ws` as a server has it, with permessage-deflate where the options have it. */
function open (options: ServerOptions, isFed: boolean, transport = new Transport()): Session {
  const server = new WebSocketServer({ maxPayload: 70_000, ...options, noServer: true })
  const headers = { upgrade: 'websocket', connection: 'upgrade', 'sec-websocket-key': KEY, 'sec-websocket-version': '13', 'sec-websocket-extensions': DEFLATE['Sec-WebSocket-Extensions'] }
  let session: Session | undefined
  server.handleUpgrade({ method: 'GET', url: '/', headers } as unknown as IncomingMessage, transport, Buffer.alloc(0), (socket) => {
    const events: string[] = []
    socket.on('message', (data: Buffer, isBinary) => events.push(`${isBinary ? 'binary' : 'text'} ${data.length} ${hash(data)}`))
    socket.on('ping', (data) => events.push(`ping ${data}`))
    socket.on('pong', (data) => events.push(`pong ${data}`))
    socket.on('error', (error: Error & { code?: string }) => events.push(`error ${error.code ?? error.message}`))
    socket.on('close', (code, reason) => events.push(`close ${code} ${reason}`))
    session = { socket, transport, events, isFed: isFed && feedFrames(socket, transport), closed: new Promise((resolve) => { socket.on('close', resolve) }) }
  })
  return session! // handleUpgrade calls back at once
}

const hash = (data: Buffer) => createHash('sha1').update(data).digest('base64').slice(0, 6)

t.test('feedFrames() can feed the installed version of ws', async (t) => {
  const { socket, transport, isFed, closed } = open(COMPRESSED, true)
  t.equal(isFed, true)
  t.equal(transport.listenerCount('data'), 1)
  socket.terminate()
  await closed
})

t.test('feedFrames() leaves a ws with another kind of receiver to read by itself', async (t) => {
  const { socket, transport, closed } = open(COMPRESSED, false)
  const heard: string[] = []
  socket.on('message', (data) => heard.push(String(data)))
  const listeners = transport.listeners('data')
  t.equal(feedFrames(Object.assign(Object.create(socket), { _receiver: {} }), transport), false)
  t.same(transport.listeners('data'), listeners)
  transport.send(Buffer.concat([compressed('a'), compressed('b'), closeFrame(1000)]))
  await closed
  t.same(heard, ['a', 'b'])
})

const text = (size: number, seed: number) => Buffer.from(Array.from({ length: size }, (_, i) => 97 + (i * seed + (i >> 5)) % 26))

/** Frames of one step of a client, by the bytes and a number. */
const steps: Record<string, (size: number, seed: number) => Buffer[]> = {
  text: (size, seed) => [frame(text(size, seed))],
  binary: (size, seed) => [frame(text(size, seed), { opcode: 2 })],
  compressed: (size, seed) => [compressed(text(size, seed))],
  compressedBinary: (size, seed) => [compressed(text(size, seed), 2)],
  fragments: (size, seed) => fragments(cut(text(size, seed), seed)),
  compressedFragments: (size, seed) => fragments(cut(deflate(text(size, seed)), seed), { rsv: RSV1 }),
  pingBetween: (size, seed) => between(fragments(cut(text(size, seed), seed)), frame(`${seed}`, { opcode: 9 })),
  pingBetweenCompressed: (size, seed) => between(fragments(cut(deflate(text(size, seed)), seed), { rsv: RSV1 }), frame(`${seed}`, { opcode: 9 })),
  ping: (_size, seed) => [frame(`ping ${seed}`, { opcode: 9 })],
  pong: (_size, seed) => [frame(`pong ${seed}`, { opcode: 10 })],
  empty: () => [frame('')]
}

/** Last steps: after one of these ws ignores what follows. */
const lastSteps: Record<string, () => Buffer[]> = {
  close: () => [closeFrame(4000, 'bye')],
  closeWithoutCode: () => [frame('', { opcode: 8 })],
  closeCode: () => [closeFrame(1005)],
  closeText: () => [frame(Buffer.from([0x03, 0xe8, 0xff]), { opcode: 8 })],
  closeSize: () => [frame('x', { opcode: 8 })],
  rsv2: () => [frame('x', { rsv: 2 })],
  rsv1: () => [frame('', { opcode: 9, rsv: RSV1 })],
  opcode: () => [frame('x', { opcode: 3 })],
  controlOpcode: () => [frame('x', { opcode: 11 })],
  continuation: () => [frame('x', { opcode: 0 })],
  inMessage: () => [frame('x', { fin: false }), frame('y')],
  fragmentedPing: () => [frame('x', { opcode: 9, fin: false })],
  longPing: () => [frame('x'.repeat(126), { opcode: 9 })],
  unmasked: () => [frame('x', { isMasked: false })],
  utf8: () => [frame(Buffer.from([0xc0, 0xaf]))],
  compressedUtf8: () => [compressed(Buffer.from([0xc0, 0xaf]))],
  garbage: () => [frame(Buffer.alloc(20, 0xff), { rsv: RSV1 })],
  tooLong: () => [frame(Buffer.alloc(70_001), { opcode: 2 })],
  inflatesTooLong: () => [compressed(Buffer.alloc(70_001), 2)],
  fragmentsTooLong: () => fragments(Array<Buffer>(8).fill(Buffer.alloc(10_000)), { opcode: 2 }),
  longerThanNumbers: () => [Buffer.from([0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4])]
}

function cut (bytes: Buffer, seed: number): Buffer[] {
  const places = [0, seed % (bytes.length + 1), (seed * 7) % (bytes.length + 1), bytes.length].sort((a, b) => a - b)
  return places.slice(1).map((to, i) => bytes.subarray(places[i], to))
}

const between = (frames: Buffer[], control: Buffer) => frames.flatMap((each) => [control, each])

const step = fc.record({
  name: fc.constantFrom(...Object.keys(steps)),
  size: fc.oneof(fc.nat(200), fc.constantFrom(0, 125, 126, 65_535, 65_536, 70_000)),
  seed: fc.nat(1000)
})

const session = fc.record({
  options: fc.constantFrom(DEFERRED, COMPRESSED, BOTH),
  steps: fc.array(step, { maxLength: 15 }),
  last: fc.option(fc.constantFrom(...Object.keys(lastSteps))),
  after: fc.array(step, { maxLength: 3 }),
  cuts: fc.array(fc.record({ at: fc.nat(), turns: fc.nat(2) }), { maxLength: 20 }),
  end: fc.constantFrom('end', 'destroy'),
  lingers: fc.nat(5),
  pauses: fc.array(fc.boolean(), { minLength: 1, maxLength: 5 })
})

type Script = typeof session extends fc.Arbitrary<infer T> ? T : never

function bytesOf ({ options, steps: names, last, after }: Script): Buffer {
  const framesOfSteps = (each: Script['steps']) => each
    .filter(({ name }) => options !== DEFERRED || !/compressed/i.test(name))
    .flatMap(({ name, size, seed }) => steps[name]!(size, seed))
  return Buffer.concat([...framesOfSteps(names), ...last === null ? [] : lastSteps[last]!(), ...framesOfSteps(after)])
}

/** Sends the bytes in the reads of the script to a ws that is fed, and gives the events that it emits. */
async function eventsWhenFed (script: Script, bytes: Buffer): Promise<string[]> {
  const { socket, transport, events, isFed, closed } = open(script.options, true, new Transport(script.lingers))
  if (!isFed) throw new Error('ws is not fed')
  let count = 0
  socket.on('message', () => {
    if (script.pauses[count++ % script.pauses.length] !== true || socket.readyState !== socket.OPEN) return
    socket.pause()
    setImmediate(() => socket.resume())
  })
  const cuts = script.cuts.map(({ at, turns }) => ({ at: at % (bytes.length + 1), turns })).sort((a, b) => a.at - b.at)
  for (const [i, { at, turns }] of [...cuts, { at: bytes.length, turns: 0 }].entries()) {
    transport.send(bytes.subarray(cuts[i - 1]?.at ?? 0, at))
    for (let turn = 0; turn < turns; turn++) await nextTurn()
  }
  end(script, transport)
  await closed
  return events
}

/** The events of a ws that reads by itself, all in one read: there it does not matter when it finishes a message. */
async function eventsOfWsAlone (script: Script, bytes: Buffer): Promise<string[]> {
  const { transport, events, closed } = open(script.options, false)
  await nextTurn() // until the transport flows
  transport.send(bytes)
  end(script, transport)
  await closed
  return events
}

function end (script: Script, transport: Transport): void {
  if (script.end === 'destroy') transport.destroy()
  else if (!transport.destroyed && !transport.readableEnded) transport.push(null)
}

t.test('however the bytes are split and reading is paused, the same comes out of ws as by itself', { timeout: 120_000 }, async (t) => {
  await fc.assert(fc.asyncProperty(session, async (script) => {
    const bytes = bytesOf(script)
    const expected = await eventsOfWsAlone(script, bytes)
    const seen = await eventsWhenFed(script, bytes)
    if (seen.join() !== expected.join()) throw new Error(`${seen.join(', ')}\nin place of\n${expected.join(', ')}`)
  }), { numRuns: 1000 })
  t.pass('no counterexample')
})

t.test('a pause holds after the message that led to it, and what was held back comes before the end', async (t) => {
  for (const options of [DEFERRED, COMPRESSED, BOTH]) {
    const message = options === DEFERRED ? frame : compressed
    const bytes = Buffer.concat([message('first'), message('other'), closeFrame(4000)])
    const { socket, transport, events, closed } = open(options, true)
    socket.on('message', () => socket.pause())
    transport.send(bytes)
    transport.push(null)
    for (const expected of [['first'], ['first', 'other']]) {
      while (events.length < expected.length) await nextTurn()
      const witness = open(options, true) // it has its messages by when the other would have
      witness.transport.send(bytes)
      await witness.closed
      t.same(events, expected.map((each) => `text 5 ${hash(Buffer.from(each))}`))
      socket.resume()
    }
    await closed
    t.equal(events.at(-1), 'close 4000 ')
  }
})

t.test('a transport that was paused from outside stays paused', async (t) => {
  const { socket, transport, events, closed } = open(COMPRESSED, true)
  transport.send(Buffer.concat([compressed('held back'), compressed('for a moment')]))
  socket.on('message', () => {
    if (events.length === 3) transport.pause()
  })
  while (events.length < 2) await nextTurn()
  transport.send(compressed('alone'))
  while (events.length < 3) await nextTurn()
  transport.send(frame('more'))
  for (let turn = 0; turn < 5; turn++) await nextTurn()
  t.equal(events.length, 3)
  t.equal(transport.isPaused(), true)
  transport.resume()
  while (events.length < 4) await nextTurn()
  socket.terminate()
  await closed
})

/** The load generator. It runs in a process of its own. */
import { setTimeout as sleep } from 'node:timers/promises'
import { constants, inflateRawSync } from 'node:zlib'
import { headerSize, payloadSize } from '../../test/fixtures/frames.js'
import { answerQuestions } from '../processes/child.js'
import { connectAll, Connection } from './client.js'
import { cpuTime } from '../measure/cpu.js'
import { clientFrame, compressedFrame, FrameCounter, sampleText, serverFrame } from './frames.js'
import { BURST, BURST_TEXT, repliesOf, type Scenario } from '../scenarios.js'

export interface Target {
  readonly scenario: Scenario
  readonly port: number
}

export interface Task extends Target {
  /** The process of the server. */
  readonly pid: number
  /** In ms, as is `window`. */
  readonly warmUp: number
  readonly window: number
}

export interface Measurement {
  /** Messages from the server, or upgrades, per second. */
  readonly rate: number
  /** The CPU time of the server for one of them, in µs. */
  readonly cpu: number
  /** The median round trip in ms, or `null` if none ended in the window. */
  readonly p50: number | null
  readonly p99: number | null
  /** The share of its CPU that the generator used. */
  readonly ownShare: number
  /** The share of the window in which the server or the generator could have run, but another process did. */
  readonly waitShare: number
  /** The number of messages, including those of the warm-up. */
  readonly total: number
}

const STALLED = 10_000 // ms without a reply. It is long because a busy machine can hold a process up for longer than a window

// With compression, so many different messages are sent that deflate's window of 32 KiB has forgotten a message before it is repeated
const DEFLATE_WINDOW = 32 * 1024

/** Counts what comes back, in bytes or in frames. @param perMessage how many of them make one message */
class Meter {
  readonly #perMessage: number
  #amount = 0
  #roundTrips: number[] = []

  constructor (perMessage: number) {
    this.#perMessage = perMessage
  }

  get messages (): number {
    return this.#amount / this.#perMessage
  }

  add (amount: number): void {
    this.#amount += amount
  }

  addRoundTrip (time: number): void {
    this.#roundTrips.push(time)
  }

  forgetRoundTrips (): void {
    this.#roundTrips = []
  }

  percentile (share: number): number | null {
    const sorted = this.#roundTrips.toSorted((a, b) => a - b)
    return sorted[Math.floor(share * (sorted.length - 1))] ?? null
  }
}

/** Writes a batch, waits for all its replies, and writes the next batch. */
class Exchange {
  readonly #connection: Connection
  readonly #batches: readonly Buffer[]
  readonly #wanted: number
  readonly #meter: Meter
  #batch = 0
  #got = 0
  #startedAt = 0

  /** @param wanted the amount, as `reply()` counts it, that answers one batch */
  constructor (connection: Connection, batches: readonly Buffer[], wanted: number, meter: Meter) {
    this.#connection = connection
    this.#batches = batches
    this.#wanted = wanted
    this.#meter = meter
  }

  next (): void {
    this.#startedAt = performance.now()
    this.#connection.socket.write(this.#batches[this.#batch] ?? '')
    this.#batch = (this.#batch + 1) % this.#batches.length
  }

  reply (amount: number): void {
    this.#meter.add(amount)
    this.#got += amount
    if (this.#got < this.#wanted) return
    if (this.#got > this.#wanted) throw new Error('More came back than was expected')
    this.#got = 0
    this.#meter.addRoundTrip(performance.now() - this.#startedAt)
    this.next()
  }
}

function batchesOf ({ isCompressed, depth, size }: Scenario, seed: number): Buffer[] {
  const count = isCompressed ? Math.ceil(DEFLATE_WINDOW * 2 / (depth * size)) : 1
  return Array.from({ length: count }, (_, batch) => {
    const frames = Array.from({ length: depth }, (_, i) => isCompressed ? compressedFrame(sampleText(size, seed + batch * depth + i)) : clientFrame(sampleText(size, 0)))
    return Buffer.concat(frames)
  })
}

/** The bytes that one connection gets in answer to one message. */
function expectedReply ({ path, size }: Scenario): Buffer {
  if (path !== '/burst') return serverFrame(sampleText(size, 0))
  return Buffer.concat(Array.from({ length: BURST }, () => serverFrame(Buffer.from(BURST_TEXT))))
}

/** How much the meter counts for one message: 1 if it counts frames, because compressed frames have any length, else bytes. */
function amountOfMessage ({ kind, isCompressed, path, size }: Scenario): number {
  if (isCompressed || kind === 'upgrades') return 1
  const replySize = path === '/burst' ? BURST_TEXT.length : size
  return headerSize(replySize) + replySize
}

function startExchanges (scenario: Scenario, connections: readonly Connection[], meter: Meter): void {
  const wanted = repliesOf(scenario) * amountOfMessage(scenario)
  const { isCompressed, kind } = scenario
  const newExchange = (connection: Connection, i: number) => new Exchange(connection, batchesOf(scenario, i * 1000), wanted, meter)
  const [publisher] = connections
  const publications = kind === 'fan-out' && publisher !== undefined ? newExchange(publisher, 0) : undefined
  const exchanges = connections.map((connection, i) => {
    const exchange = publications ?? newExchange(connection, i)
    const counter = new FrameCounter()
    connection.onBytes = isCompressed ? (chunk) => exchange.reply(counter.count(chunk)) : (chunk) => exchange.reply(chunk.length)
    return exchange
  })
  for (const exchange of new Set(exchanges)) exchange.next()
}

/** Measures what the meter counts. It rejects if `failure` rejects. */
async function observe ({ pid, warmUp, window }: Task, meter: Meter, failure: Promise<never>): Promise<Measurement> {
  await Promise.race([sleep(warmUp), failure])
  meter.forgetRoundTrips()
  const start = newSample(pid, meter)
  do await Promise.race([sleep(window), failure])
  while (meter.messages === start.messages && performance.now() - start.time < STALLED)
  const end = newSample(pid, meter)
  const time = end.time - start.time
  const count = end.messages - start.messages
  const used = end.server.used - start.server.used
  const waited = Math.max(0, end.server.waited - start.server.waited, end.own.waited - start.own.waited)
  if (count === 0) throw new Error(`Nothing came back within ${Math.round(time)} ms`)
  return {
    rate: count / time * 1000,
    cpu: used / count,
    p50: meter.percentile(0.5),
    p99: meter.percentile(0.99),
    ownShare: (end.own.used - start.own.used) / 1000 / time,
    waitShare: Math.min(waited / 1000 / time, Math.max(0, 1 - used / 1000 / time)), // a server that was busy all the time has lost nothing
    total: end.messages
  }
}

function newSample (pid: number, { messages }: Meter) {
  return { messages, server: cpuTime(pid), own: cpuTime(process.pid), time: performance.now() }
}

async function measure (task: Task): Promise<Measurement> {
  const { scenario, port } = task
  if (scenario.kind === 'upgrades') return await measureUpgrades(task)
  const connections = await connectAll(scenario.connections, port, scenario.path, scenario)
  const stalled = await connectAll(scenario.stalled, port, scenario.path, scenario)
  for (const { socket } of stalled) socket.pause()
  const failure = lossOf(connections)
  const meter = new Meter(amountOfMessage(scenario))
  try {
    startExchanges(scenario, connections, meter)
    return await observe(task, meter, failure)
  } finally {
    await endAll([...connections, ...stalled])
  }
}

async function measureUpgrades (task: Task): Promise<Measurement> {
  const { scenario, port } = task
  const meter = new Meter(amountOfMessage(scenario))
  const over = new AbortController()
  const upgradeOnAndOn = async () => {
    while (!over.signal.aborted) {
      const start = performance.now()
      const connection = new Connection(port, scenario.path, scenario)
      await connection.opened
      meter.add(1)
      meter.addRoundTrip(performance.now() - start)
      connection.destroy()
    }
  }
  const slots = Array.from({ length: scenario.connections }, upgradeOnAndOn)
  const failure = Promise.all(slots).then(() => { throw new Error('The upgrades have ended') })
  failure.catch(() => {})
  try {
    return await observe(task, meter, failure)
  } finally {
    over.abort()
    await Promise.allSettled(slots)
    await endAll([])
  }
}

/** Rejects when one of the connections ends without `destroy()`. */
function lossOf (connections: readonly Connection[]): Promise<never> {
  const { promise, reject } = newPromise<never>()
  for (const connection of connections) connection.onLoss = reject
  promise.catch(() => {})
  return promise
}

function newPromise<T> () {
  let resolve: (value: T) => void = () => {}
  let reject: (error: Error) => void = () => {}
  const promise = new Promise<T>((...settle) => { [resolve, reject] = settle })
  return { promise, resolve, reject }
}

async function endAll (connections: readonly Connection[]): Promise<void> {
  for (const connection of connections) connection.destroy()
  await sleep(60 + connections.length / 4) // the server has to finish with them before it is measured again
}

/** Rejects unless the reply to one message has exactly the expected bytes. */
async function verify ({ scenario, port }: Target): Promise<void> {
  if (scenario.kind === 'upgrades') return // they have only the 101, which every connection checks
  const count = scenario.kind === 'fan-out' ? 2 : 1
  const connections = await connectAll(count, port, scenario.path, scenario)
  try {
    const expected = expectedReply(scenario)
    const replies = connections.map((connection) => collect(connection))
    const toFrame = scenario.isCompressed ? compressedFrame : clientFrame
    connections[0]?.socket.write(toFrame(sampleText(scenario.size, 0)))
    for (const { bytes } of replies) await until(() => uncompressed(bytes()).length >= expected.length)
    await sleep(20) // for bytes that must not come
    for (const { bytes } of replies) {
      if (!uncompressed(bytes()).equals(expected)) throw new Error(`${scenario.name}: the reply has other bytes than expected`)
    }
  } finally {
    await endAll(connections)
  }
}

function collect (connection: Connection): { bytes: () => Buffer } {
  const chunks: Buffer[] = []
  connection.onBytes = (chunk) => { chunks.push(Buffer.from(chunk)) }
  return { bytes: () => Buffer.concat(chunks) }
}

// Turns one frame with RSV1 into the same frame without compression (RFC 7692, section 7.2.2), and returns other bytes as they are
function uncompressed (bytes: Buffer): Buffer {
  const size = payloadSize(bytes)
  if (size === null || (bytes.readUInt8(0) & 0x40) === 0 || bytes.length < headerSize(size) + size) return bytes
  const tail = Buffer.from([0, 0, 0xff, 0xff])
  return serverFrame(inflateRawSync(Buffer.concat([bytes.subarray(headerSize(size)), tail]), { finishFlush: constants.Z_SYNC_FLUSH }))
}

async function until (isTrue: () => boolean): Promise<void> {
  const end = performance.now() + 5000
  while (!isTrue()) {
    if (performance.now() > end) throw new Error('The reply has not come within 5 s')
    await sleep(2)
  }
}

let held: Connection[] = []

/** Opens connections, exchanges one message on each, and holds them until `release`. */
async function hold ({ port, connections }: { port: number, connections: number }): Promise<void> {
  const payload = sampleText(20, 0)
  const frame = clientFrame(payload)
  const reply = serverFrame(payload)
  held = await connectAll(connections, port, '/echo')
  const failure = lossOf(held)
  for (const connection of held) {
    const { promise, resolve } = newPromise<void>()
    let got = 0
    connection.onBytes = (chunk) => {
      got += chunk.length
      if (got === reply.length) resolve()
    }
    connection.socket.write(frame)
    await Promise.race([promise, failure])
  }
}

async function release (): Promise<void> {
  await endAll(held)
  held = []
}

const commands = { verify, measure, hold, release }
export type LoadCommands = typeof commands

answerQuestions(commands)

/** The load generator. It runs in a process of its own. */
import { setTimeout as sleep } from 'node:timers/promises'
import { constants, inflateRawSync } from 'node:zlib'
import { headerSize, payloadSize } from '../../test/fixtures/frames.js'
import { answerQuestions } from '../processes/child.js'
import { connectAll, endAll, lossOf, type Connection } from './client.js'
import { close, exchange, open, upgradeOnce, type Target } from './counted.js'
import { Meter, newExchanges } from './exchange.js'
import { cpuTime } from '../measure/cpu.js'
import { clientFrame, compressedFrame, sampleText, serverFrame } from './frames.js'
import { newPromise } from './promise.js'
import { BURST, BURST_TEXT, type Scenario } from '../scenarios.js'

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

const PATIENCE = 60_000 // ms for one reply, which a server under valgrind may need
const STALLED = 10_000 // ms without a reply. It is long because a busy machine can hold a process up for longer than a window

/** The bytes that one connection gets in answer to one message. */
function expectedReply ({ path, size }: Scenario): Buffer {
  if (path !== '/burst') return serverFrame(sampleText(size, 0))
  return Buffer.concat(Array.from({ length: BURST }, () => serverFrame(Buffer.from(BURST_TEXT))))
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
  const meter = new Meter(scenario)
  try {
    for (const exchange of newExchanges(scenario, connections, meter)) exchange.run()
    return await observe(task, meter, failure)
  } finally {
    await endAll([...connections, ...stalled])
  }
}

async function measureUpgrades (task: Task): Promise<Measurement> {
  const { scenario, port } = task
  const meter = new Meter(scenario)
  const over = new AbortController()
  const upgradeOnAndOn = async () => {
    while (!over.signal.aborted) {
      const start = performance.now()
      await upgradeOnce({ scenario, port })
      meter.add(1)
      meter.addRoundTrip(performance.now() - start)
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
  const end = performance.now() + PATIENCE
  while (!isTrue()) {
    if (performance.now() > end) throw new Error(`The reply has not come within ${PATIENCE} ms`)
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

const commands = { verify, measure, hold, release, open, exchange, close }
export type LoadCommands = typeof commands

answerQuestions(commands)

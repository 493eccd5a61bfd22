/** Messages that go to the server and come back. */
import { headerSize } from '../../test/fixtures/frames.js'
import type { Connection } from './client.js'
import { clientFrame, compressedFrame, FrameCounter, sampleText } from './frames.js'
import { newPromise } from './promise.js'
import { BURST_TEXT, repliesOf, type Scenario } from '../scenarios.js'

// With compression, so many different messages are sent that deflate's window of 32 KiB has forgotten a message before it is repeated
const DEFLATE_WINDOW = 32 * 1024

/** Counts what comes back, in bytes or in frames. */
export class Meter {
  readonly #perMessage: number
  #amount = 0
  #roundTrips: number[] = []

  constructor (scenario: Scenario) {
    this.#perMessage = amountOfMessage(scenario)
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
export class Exchange {
  readonly #connection: Connection
  readonly #batches: readonly Buffer[]
  readonly #wanted: number
  readonly #meter: Meter
  #batch = 0
  #got = 0
  #startedAt = 0
  #left = 0
  #onDone: () => void = () => {}

  /** @param wanted the amount, as `reply()` counts it, that answers one batch */
  constructor (connection: Connection, batches: readonly Buffer[], wanted: number, meter: Meter) {
    this.#connection = connection
    this.#batches = batches
    this.#wanted = wanted
    this.#meter = meter
  }

  /** Resolves when so many batches were answered. */
  async run (batches = Infinity): Promise<void> {
    this.#left = batches
    const { promise, resolve } = newPromise<void>()
    this.#onDone = resolve
    this.#next()
    await promise
  }

  #next (): void {
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
    if (--this.#left > 0) this.#next()
    else this.#onDone()
  }
}

function batchesOf ({ isCompressed, depth, size }: Scenario, seed: number): Buffer[] {
  const count = isCompressed ? Math.ceil(DEFLATE_WINDOW * 2 / (depth * size)) : 1
  return Array.from({ length: count }, (_, batch) => {
    const frames = Array.from({ length: depth }, (_, i) => isCompressed ? compressedFrame(sampleText(size, seed + batch * depth + i)) : clientFrame(sampleText(size, 0)))
    return Buffer.concat(frames)
  })
}

/** How much the meter counts for one message: 1 if it counts frames, because compressed frames have any length, else bytes. */
function amountOfMessage ({ kind, isCompressed, path, size }: Scenario): number {
  if (isCompressed || kind === 'upgrades') return 1
  const replySize = path === '/burst' ? BURST_TEXT.length : size
  return headerSize(replySize) + replySize
}

/** One exchange for each connection, or in a fan-out one for all of them, in which the first one publishes. None has begun. */
export function newExchanges (scenario: Scenario, connections: readonly Connection[], meter: Meter): Exchange[] {
  const { isCompressed, kind } = scenario
  const wanted = repliesOf(scenario) * amountOfMessage(scenario)
  const newExchange = (connection: Connection, i: number) => new Exchange(connection, batchesOf(scenario, i * 1000), wanted, meter)
  const senders = kind === 'fan-out' ? connections.slice(0, 1) : connections
  const exchanges = senders.map(newExchange)
  connections.forEach((connection, i) => {
    const exchange = exchanges[i] ?? exchanges[0]
    const counter = new FrameCounter()
    connection.onBytes = isCompressed ? (chunk) => exchange?.reply(counter.count(chunk)) : (chunk) => exchange?.reply(chunk.length)
  })
  return exchanges
}

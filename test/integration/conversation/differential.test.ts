import { randomInt } from 'node:crypto'
import t, { type Test } from 'tap'
import { describeCase, findDifference, shrink } from '../../fixtures/compare-readers.js'
import { Random } from '../../fixtures/random.js'
import { everySplit, randomReading, type ReadingCase } from '../../fixtures/reading-cases.js'
import { readWithWs } from '../../fixtures/readers.js'

// The plugin reads every stream of a client as `ws` alone does. By hand: SEED=… STREAMS=… repeats a run, MINUTES=… runs others

const minutes = Number(process.env.MINUTES ?? 0)
const seed = Number(process.env.SEED ?? (minutes > 0 ? randomInt(2 ** 31) : 16))
const streams = minutes > 0 ? Infinity : Number(process.env.STREAMS ?? 100_000)
const end = minutes > 0 ? performance.now() + minutes * 60_000 : Infinity

/** Cases that run side by side, so that they share the turns of the event loop. */
const TOGETHER = 50

interface Failure {
  readonly seed: number
  readonly reading: ReadingCase
  readonly difference: string
}

/** What a seed stands for: one stream, or one in all its splits, which are all compared with the whole. */
async function run (seed: number): Promise<{ count: number, failure: Failure | null }> {
  const random = new Random(seed)
  const isOne = random.chance(0.95)
  const readings = isOne ? [randomReading(random)] : everySplit(random)
  const expected = await readWithWs(readings[0] as ReadingCase) // there is one at least
  for (const reading of readings) {
    const difference = await findDifference(reading, expected)
    if (difference !== null) return { count: 1, failure: { seed, reading, difference } }
  }
  return { count: readings.length, failure: null }
}

async function runAll (t: Test): Promise<Failure | null> {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0 // a stack for every violation would take longer than all the rest
  t.teardown(() => { Error.stackTraceLimit = stackTraceLimit })
  let count = 0
  let next = seed
  t.teardown(() => t.comment(`${count} streams, of the seeds from ${seed} to below ${next}`)) // also where something throws in between
  while (count < streams && performance.now() < end) {
    const seeds = Array.from({ length: Math.min(TOGETHER, streams) }, () => next++)
    for (const result of await Promise.all(seeds.map(run))) {
      count += result.count
      if (result.failure !== null) return result.failure
    }
  }
  return null
}

t.test('the plugin reads what ws alone reads, and answers as it does', { timeout: minutes * 60_000 + 240_000 }, async (t) => {
  const failure = await runAll(t)
  if (failure === null) return t.pass('all streams are read alike')
  const smallest = await shrink(failure.reading)
  t.fail(`SEED=${failure.seed} STREAMS=1: ${failure.difference}`, {
    at: null,
    reading: describeCase(failure.reading),
    shorter: describeCase(smallest),
    thereby: await findDifference(smallest)
  })
})

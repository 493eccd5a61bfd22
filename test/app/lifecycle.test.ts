import t from 'tap'
import { Lifecycle } from '../../lib/app/lifecycle.js'
import type { AsyncWebSocket } from '../../lib/connection/async-web-socket.js'
import { fakeClock } from '../fixtures/fake-clock.js'

const upgrade = { refuse () {}, destroy () {} }
const handler = { lifetime: Promise.resolve(), excuse () {} }
const connection = {} as AsyncWebSocket // nothing of it is called

/** Starts and ends one of each kind. */
const KINDS = {
  upgrade: [(lifecycle: Lifecycle) => lifecycle.trackUpgrade(upgrade), (lifecycle: Lifecycle) => lifecycle.untrackUpgrade(upgrade)],
  handler: [(lifecycle: Lifecycle) => lifecycle.trackHandler(handler), (lifecycle: Lifecycle) => lifecycle.untrackHandler(handler)],
  connection: [(lifecycle: Lifecycle) => lifecycle.trackConnection(connection), (lifecycle: Lifecycle) => lifecycle.untrackConnection(connection)]
} as const

for (const [kind, [start, end]] of Object.entries(KINDS)) {
  t.test(`endsWithin() waits for the end of a tracked ${kind}`, async (t) => {
    const clock = fakeClock(t)
    const lifecycle = new Lifecycle()
    start(lifecycle)
    const results: boolean[] = []
    lifecycle.endsWithin(1000).then((hasEnded) => results.push(hasEnded))
    await clock.tickAsync(500)
    t.same(results, [])
    end(lifecycle)
    await clock.tickAsync(0)
    t.same(results, [true])
    t.equal(clock.countTimers(), 0)
  })

  t.test(`endsWithin() resolves to false if a tracked ${kind} outlives the timeout, and may be called again`, async (t) => {
    const clock = fakeClock(t)
    const lifecycle = new Lifecycle()
    start(lifecycle)
    const results: boolean[] = []
    lifecycle.endsWithin(1000).then((hasEnded) => results.push(hasEnded))
    await clock.tickAsync(999)
    t.same(results, [])
    await clock.tickAsync(1)
    t.same(results, [false])
    lifecycle.endsWithin(1000).then((hasEnded) => results.push(hasEnded))
    end(lifecycle)
    await clock.tickAsync(0)
    t.same(results, [false, true])
    t.equal(clock.countTimers(), 0)
  })
}

t.test('endsWithin() waits for the last of all kinds', async (t) => {
  fakeClock(t)
  const lifecycle = new Lifecycle()
  for (const [start] of Object.values(KINDS)) start(lifecycle)
  let hasEnded = false
  const ended = lifecycle.endsWithin(1000).then(() => { hasEnded = true })
  for (const [, end] of Object.values(KINDS)) {
    await Promise.resolve()
    t.equal(hasEnded, false)
    end(lifecycle)
  }
  await ended
})

t.test('endsWithin() resolves to true at once if nothing is alive', async (t) => {
  const clock = fakeClock(t)
  t.equal(await new Lifecycle().endsWithin(1000), true)
  t.equal(clock.countTimers(), 0)
})

t.test('the sets have what was tracked and has not ended, in order', async (t) => {
  const lifecycle = new Lifecycle()
  const [first, second, third] = [1, 2, 3].map(() => ({} as AsyncWebSocket)) as [AsyncWebSocket, AsyncWebSocket, AsyncWebSocket]
  for (const each of [first, second, third]) lifecycle.trackConnection(each)
  lifecycle.untrackConnection(second)
  lifecycle.untrackConnection(second)
  t.strictSame([...lifecycle.connections], [first, third])
  lifecycle.trackUpgrade(upgrade)
  lifecycle.trackHandler(handler)
  t.same([lifecycle.upgrades.has(upgrade), lifecycle.handlers.has(handler)], [true, true])
  lifecycle.untrackUpgrade(upgrade)
  lifecycle.untrackHandler(handler)
  t.same([lifecycle.upgrades.size, lifecycle.handlers.size], [0, 0])
})

t.test('closing resolves with the first call of beginClosing()', async (t) => {
  const lifecycle = new Lifecycle()
  let isTold = false
  lifecycle.closing.then(() => { isTold = true })
  await null
  t.same([lifecycle.isClosing, isTold], [false, false])
  lifecycle.beginClosing()
  lifecycle.beginClosing()
  await null
  t.same([lifecycle.isClosing, isTold], [true, true])
})

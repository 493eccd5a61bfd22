import { install } from '@sinonjs/fake-timers'
import t, { type Test } from 'tap'
import { NoAckError, PendingAcks } from '../../lib/topics/pending-acks.js'

function fakeClock (t: Test) {
  const clock = install({ toFake: ['setInterval', 'clearInterval'] })
  t.teardown(() => { clock.uninstall() })
  return clock
}

/** Makes a request that the test acknowledges, and notes what `onAck` was called with and what the promise resolved to. */
function request (acks: PendingAcks) {
  const made = { ack: (_error?: unknown) => {}, acks: [] as unknown[], result: undefined as Error | null | undefined }
  acks.track((ack) => { made.ack = ack }, (error) => made.acks.push(error)).then((result) => { made.result = result })
  return made
}

t.test('track() resolves to the first acknowledgement, or to the error that was answered or thrown', async (t) => {
  const clock = fakeClock(t)
  const acks = new PendingAcks()
  const [confirmed, refused] = [request(acks), request(acks)]
  confirmed.ack()
  refused.ack(new Error('no'))
  confirmed.ack(new Error('a second answer is ignored'))
  t.match(await acks.track(() => { throw new Error('thrown') }), { message: 'thrown' })
  // eslint-disable-next-line no-throw-literal
  t.match(await acks.track(() => { throw 'a string' }), { message: 'a string' })
  t.equal(confirmed.result, null)
  t.match(refused.result, { message: 'no' })
  t.same(confirmed.acks, [null])
  t.match(refused.acks, [{ message: 'no' }])
  t.equal(clock.countTimers(), 0)
})

t.test('track() resolves to a NoAckError after two seconds, and a late acknowledgement still reaches onAck', async (t) => {
  const clock = fakeClock(t)
  const acks = new PendingAcks()
  const first = request(acks)
  await clock.tickAsync(200)
  const second = request(acks)
  await clock.tickAsync(2000)
  t.same([first.result, second.result], [undefined, undefined])
  await clock.tickAsync(50)
  t.type(first.result, NoAckError)
  t.match(first.result, { message: 'the broker did not answer within 2000 ms' })
  t.type(second.result, NoAckError)
  first.ack()
  t.same(first.acks, [null])
  t.equal(clock.countTimers(), 0)
})

t.test('a blocked event loop does not time out a request: only ticks count', async (t) => {
  const clock = fakeClock(t)
  const acks = new PendingAcks()
  const made = request(acks)
  for (let i = 0; i < 8; i++) clock.jump(60_000)
  await null
  t.equal(made.result, undefined)
  clock.jump(60_000)
  await null
  t.type(made.result, NoAckError)
})

t.test('end() finishes every request with its error', async (t) => {
  const clock = fakeClock(t)
  const acks = new PendingAcks()
  const made = Array.from({ length: 3 }, () => request(acks))
  acks.end(new Error('the end'))
  await null
  for (const { result } of made) t.match(result, { message: 'the end' })
  t.equal(clock.countTimers(), 0)
})

import t, { type Test } from 'tap'
import { PingPolicy } from '../../lib/connection/ping-policy.js'
import { deferred } from '../fixtures/deferred.js'
import { fakeClock } from '../fixtures/fake-clock.js'

/** A policy on a fake clock, over a connection that the test provides: it notes what is sent and when. */
function newPolicy (t: Test) {
  const clock = fakeClock(t, ['setInterval', 'clearInterval'])
  const sent: string[] = []
  const connection = {
    isClosed: false,
    result: Promise.resolve(true),
    sendAsync (text: string) {
      sent.push(`${text} ${clock.now}`)
      return connection.result
    }
  }
  return { clock, sent, connection, policy: new PingPolicy(connection) }
}

const textOf = (text: string) => Buffer.from(text)

t.test('start() pings at once and then at every interval', async (t) => {
  const { clock, sent, policy } = newPolicy(t)
  t.equal(policy.isActive, false)
  policy.start({ interval: 100, dataMessage: 'ping' })
  t.equal(policy.isActive, true)
  await clock.tickAsync(250)
  t.same(sent, ['ping 0', 'ping 100', 'ping 200'])
})

t.test('start() sends %ping% every 5 seconds by default', async (t) => {
  const { clock, sent, policy } = newPolicy(t)
  policy.start()
  await clock.tickAsync(5_000)
  t.same(sent, ['%ping% 0', '%ping% 5000'])
})

t.test('start() replaces the interval and the text of a policy that runs', async (t) => {
  const { clock, sent, policy } = newPolicy(t)
  policy.start({ interval: 10, dataMessage: 'old' })
  policy.start({ interval: 100, dataMessage: 'new' })
  await clock.tickAsync(100)
  t.same(sent, ['old 0', 'new 0', 'new 100'])
  t.equal(clock.countTimers(), 1)
  t.equal(policy.isEcho(textOf('old'), false), false)
  t.equal(policy.isEcho(textOf('new'), false), true)
})

t.test('no ping is sent while the one before it is unsent', async (t) => {
  const { clock, sent, connection, policy } = newPolicy(t)
  const isSent = deferred<boolean>()
  connection.result = isSent.promise
  policy.start({ interval: 100, dataMessage: 'ping' })
  await clock.tickAsync(350)
  t.same(sent, ['ping 0'])
  isSent.resolve(true)
  await clock.tickAsync(50)
  t.same(sent, ['ping 0', 'ping 400'])
})

t.test('stop() ends the pings and leaves no timer', async (t) => {
  const { clock, sent, policy } = newPolicy(t)
  policy.start({ interval: 100 })
  policy.stop()
  policy.stop()
  await clock.tickAsync(1_000)
  t.equal(sent.length, 1)
  t.equal(policy.isActive, false)
  t.equal(clock.countTimers(), 0)
})

t.test('start() does nothing on a connection that is closed', async (t) => {
  const { clock, sent, connection, policy } = newPolicy(t)
  connection.isClosed = true
  policy.start()
  t.equal(policy.isActive, false)
  t.same(sent, [])
  t.equal(clock.countTimers(), 0)
})

t.test('isEcho() is true for the text of the ping, while the policy runs', async (t) => {
  const { policy } = newPolicy(t)
  t.equal(policy.isEcho(textOf(''), false), false, 'nothing was sent yet')
  policy.start({ dataMessage: 'pïng' })
  t.equal(policy.isEcho(textOf('pïng'), false), true)
  t.equal(policy.isEcho(textOf('pïng'), true), false, 'a binary message is no echo of a text')
  t.equal(policy.isEcho(textOf('ping'), false), false)
  t.equal(policy.isEcho(textOf('pïng?'), false), false)
  policy.stop()
  t.equal(policy.isEcho(textOf('pïng'), false), false)
})

t.test('start() refuses a bad option before it changes anything', async (t) => {
  const { clock, sent, policy } = newPolicy(t)
  policy.start({ interval: 100, dataMessage: 'kept' })
  const bad = [null, 100, { interval: 0 }, { interval: -1 }, { interval: NaN }, { interval: Infinity }, { interval: 2 ** 31 }, { dataMessage: 5 }, { message: 'ping' }]
  for (const options of bad) t.throws(() => policy.start(options as never), { code: 'FST_WSA_INVALID_ARGUMENT' }, JSON.stringify(options))
  await clock.tickAsync(100)
  t.same(sent, ['kept 0', 'kept 100'])
})

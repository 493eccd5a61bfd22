import { EventEmitter } from 'node:events'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { BrokerHealth } from '../../lib/topics/broker-health.js'
import { PendingAcks } from '../../lib/topics/pending-acks.js'
import { fakeClock } from '../fixtures/fake-clock.js'
import { captureLog, messagesOf } from '../fixtures/log.js'
import { ManualEmitter } from './manual-emitter.js'

const code = 'FST_WSA_BUS_LOST'

/** A broker's health on a clock that stands still, over an emitter that the test answers for. */
function newHealth (t: Test, emitter = new ManualEmitter()) {
  const clock = fakeClock(t)
  const { lines, logger } = captureLog()
  const acks = new PendingAcks()
  const recoveries: number[] = []
  const health = new BrokerHealth(emitter, acks, Fastify({ logger }).log, () => recoveries.push(clock.now))
  const start = clock.now
  t.teardown(() => { acks.end(health.close()) })
  return { clock, emitter, health, acks, lines, recoveries, elapsed: () => clock.now - start }
}

t.test('a suspected broker is up until the probe fails', async (t) => {
  const { clock, emitter, health, lines } = newHealth(t)
  t.equal(health.error, null)
  health.suspect(new Error('first'))
  health.suspect(new Error('second'))
  t.equal(health.error, null)
  t.equal(emitter.calls.length, 1, 'one probe at a time')
  emitter.next('emit').answer()
  await clock.tickAsync(0)
  t.same([health.error, messagesOf(lines)], [null, []])

  const cause = new Error('third')
  health.suspect(cause)
  emitter.next('emit').answer(new Error('the probe fails'))
  await clock.tickAsync(0)
  t.match(health.error, { code, cause, message: /third/ })
  t.same(messagesOf(lines), ['websocket bus lost'])
  health.suspect(new Error('fourth'))
  t.equal(emitter.calls.length, 0, 'a lost broker is not suspected')
})

t.test('a suspected broker that does not answer the probe in time is lost', async (t) => {
  const { clock, health } = newHealth(t)
  health.suspect(new Error('silent'))
  await clock.tickAsync(2249)
  t.equal(health.error, null)
  await clock.tickAsync(1)
  t.match(health.error, { code, message: /silent/ })
})

t.test('lose() keeps the first error until the broker answers', async (t) => {
  const { clock, emitter, health, recoveries, lines } = newHealth(t)
  const first = health.lose(new Error('first'))
  t.match(first, { code, message: 'Cannot reach other nodes: first; local subscribers are served all the same, and the connection to the broker is restored automatically' })
  t.equal(health.lose(new Error('second')), first)
  t.equal(health.error, first)
  t.equal(health.errorForPublication(), first)
  t.equal(health.errorForPublication(), first)
  await clock.tickAsync(1000)
  emitter.next('emit').answer()
  t.equal(health.error, null)
  t.equal(health.errorForPublication(), null)
  t.equal(recoveries.length, 1)
  t.match(lines[1], { level: 30, msg: 'websocket bus found', unpublished: 2, duration: 1000 })
  t.equal(clock.countTimers(), 0)
})

t.test('a lost broker is probed 1 s after it has refused a probe, and 30 s after one that it did not answer', async (t) => {
  const { clock, emitter, health, recoveries, elapsed } = newHealth(t)
  const probes: number[] = []
  const { emit } = emitter
  emitter.emit = (message, answer) => {
    probes.push(elapsed())
    emit.call(emitter, message, answer)
  }
  health.lose(new Error('gone'))
  await clock.tickAsync(1000)
  emitter.next('emit').answer(new Error('refused'))
  await clock.tickAsync(1000)
  const silent = emitter.next('emit')
  await clock.tickAsync(30_000)
  t.same(probes, [1000, 2000, 32_000])
  emitter.emit = () => { throw new Error('a throw is a refusal') }
  emitter.next('emit').answer(new Error('refused'))
  await clock.tickAsync(1000)
  emitter.emit = emit
  await clock.tickAsync(1000)
  emitter.next('emit').answer()
  silent.answer()
  t.equal(recoveries.length, 1, 'the second answer changes nothing')
})

t.test('a probe of an earlier suspicion that fails after the broker was found does not lose it again', async (t) => {
  const { clock, emitter, health } = newHealth(t)
  health.suspect(new Error('suspicion'))
  const probe = emitter.next('emit')
  health.lose(new Error('lost meanwhile'))
  await clock.tickAsync(1000)
  emitter.next('emit').answer()
  probe.answer(new Error('late'))
  await clock.tickAsync(0)
  t.equal(health.error, null)
})

t.test('an error of a connection to the broker makes it suspected, and the log has the first of a series', async (t) => {
  const status = new EventEmitter()
  const { clock, emitter, lines } = newHealth(t, Object.assign(new ManualEmitter(), { status }))
  for (const connection of [emitter.state, status]) {
    connection.emit('error', new Error('ECONNREFUSED'))
    emitter.next('emit').answer()
    await clock.tickAsync(10_000)
  }
  t.match(lines, [{ level: 40, msg: 'websocket bus failed', err: { message: 'ECONNREFUSED' } }])
  t.equal(lines.length, 1)
  await clock.tickAsync(20_000)
  status.emit('error', new Error('later'))
  t.equal(lines.length, 2)
})

t.test('refused publications are counted for a second, and logged in one line', async (t) => {
  const { clock, health, lines } = newHealth(t)
  const cause = new Error('NOPERM')
  for (let i = 0; i < 3; i++) t.match(health.refusePublication(cause), { code, cause })
  await clock.tickAsync(999)
  t.same(lines, [])
  await clock.tickAsync(1)
  t.match(lines, [{ level: 40, msg: 'websocket publications refused', unpublished: 3 }])
  health.refusePublication(cause)
  await clock.tickAsync(1000)
  t.match(lines[1], { unpublished: 1 })
  t.equal(clock.countTimers(), 0)
})

t.test('close() logs what was refused, stops probing, and ignores later errors of the connections', async (t) => {
  for (const end of ['up', 'suspected', 'lost']) {
    const { clock, emitter, health, acks, lines } = newHealth(t)
    if (end === 'up') health.refusePublication(new Error('NOPERM'))
    if (end === 'suspected') health.suspect(new Error('x'))
    if (end === 'lost') health.lose(new Error('x'))
    const error = health.close()
    acks.end(error)
    await clock.tickAsync(0)
    t.match(error, { code, message: /the app is closing/ })
    t.equal(health.error, error)
    t.equal(health.errorForPublication(), error)
    t.equal(clock.countTimers(), 0)
    t.same(messagesOf(lines.splice(0)), { up: ['websocket publications refused'], suspected: [], lost: ['websocket bus lost'] }[end])
    emitter.state.emit('error', new Error('ignored'))
    for (const { answer } of emitter.calls.splice(0)) answer()
    t.equal(health.error, error)
    t.same(lines, [])
    t.equal(emitter.state.listenerCount('error'), 1, 'so that an error does not end the process')
    clock.uninstall()
  }
})

t.test('close() adds one listener that ignores errors, however many apps have used the emitter', async (t) => {
  const emitter = new ManualEmitter()
  const { log } = Fastify()
  for (let i = 0; i < 3; i++) new BrokerHealth(emitter, new PendingAcks(), log, () => {}).close()
  t.equal(emitter.state.listenerCount('error'), 1)
})

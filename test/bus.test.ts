import { EventEmitter } from 'node:events'
import { install } from '@sinonjs/fake-timers'
import Fastify from 'fastify'
import mqemitter from 'mqemitter'
import t, { type Test } from 'tap'
import { Bus, type PublicationGap, type PubSub } from '../lib/bus.js'
import { captureLog, messagesOf } from './fixtures/log.js'

type Call = { name: 'on' | 'removeListener' | 'emit', topic: string, message?: { topic: string }, answer: (error?: Error) => void }

/** An emitter that does nothing by itself: the test answers what it is asked. */
class ManualEmitter implements PubSub {
  readonly state = new EventEmitter()
  readonly calls: Call[] = []
  readonly listeners: { topic: string, listener: Parameters<PubSub['on']>[1] }[] = []

  on (topic: string, listener: Parameters<PubSub['on']>[1], answer: () => void): void {
    this.listeners.push({ topic, listener })
    this.calls.push({ name: 'on', topic, answer })
  }

  removeListener (topic: string, listener: unknown, answer: () => void): void {
    this.listeners.splice(this.listeners.findIndex((each) => each.listener === listener), 1)
    this.calls.push({ name: 'removeListener', topic, answer })
  }

  emit (message: { topic: string }, answer: (error?: Error) => void): void {
    this.calls.push({ name: 'emit', topic: message.topic, message, answer })
  }

  /** The next call, that it has the name. */
  next (name: Call['name']): Call {
    const call = this.calls.shift()
    if (call?.name !== name) throw new Error(`${name} was expected, and ${call?.name} called`)
    return call
  }

  arrive (topic: string, message: unknown): void {
    for (const each of this.listeners) {
      if (each.topic === topic || each.topic === '#') each.listener(message, () => {})
    }
  }
}

/** A bus, what it received, and what it logged. The clock stands still. */
function newBus <Emitter extends PubSub> (t: Test, emitter: Emitter, maxPendingBytes = 1000) {
  const { lines, logger } = captureLog()
  const received: [string, string | Buffer][] = []
  const gaps: PublicationGap[] = []
  const bus = new Bus(emitter, maxPendingBytes, {
    receive: (topic, data) => received.push([topic, data]),
    gap: (gap) => gaps.push(gap)
  }, Fastify({ logger }).log)
  t.teardown(() => bus.close())
  return { bus, emitter, received, gaps, lines }
}

function fakeClock (t: Test) {
  const clock = install({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  t.teardown(() => { clock.uninstall() })
  return clock
}

t.test('nodes hear each other, in order, and nobody hears oneself', async (t) => {
  const emitter = mqemitter()
  const [a, b] = [newBus(t, emitter), newBus(t, emitter)]
  for (const { bus } of [a, b]) t.equal(await bus.join('room'), 'ok')
  const bytes = Buffer.from([0, 255, 128])
  t.same(await Promise.all([a.bus.publish('room', 'one'), a.bus.publish('room', bytes), a.bus.publish('room', ''), a.bus.publish('room', Buffer.alloc(0)), b.bus.publish('room', 'two')]), Array(5).fill('ok'))
  t.same(b.received, [['room', 'one'], ['room', bytes], ['room', ''], ['room', Buffer.alloc(0)]])
  t.same(a.received, [['room', 'two']])
  a.bus.leave('room')
  await b.bus.publish('room', 'three')
  t.equal(a.received.length, 1, 'what comes after the end of a subscription is ignored')
  t.same([...a.gaps, ...b.gaps], [])
})

t.test('what matches several subscriptions, or comes again, is received once', async (t) => {
  const emitter = mqemitter()
  const [a, b] = [newBus(t, emitter), newBus(t, emitter)]
  for (const topic of ['room/1', 'room/+', '#']) await b.bus.join(topic)
  const copies: { topic: string }[] = []
  emitter.on('#', (message, done) => {
    copies.push({ ...message })
    done()
  })
  await a.bus.publish('room/1', 'once')
  for (const copy of copies.splice(0)) emitter.emit(copy)
  await a.bus.publish('room/1', 'more')
  t.same(b.received, [['room/1', 'once'], ['room/1', 'more']])
  t.same(b.gaps, [])
})

t.test('what is special to a broker is not, in a topic', async (t) => {
  const emitter = mqemitter()
  const [a, b] = [newBus(t, emitter), newBus(t, emitter)]
  const topics: string[] = []
  const { on } = emitter
  emitter.on = (topic, ...rest) => {
    topics.push(topic)
    return on.call(emitter, topic, ...rest)
  }
  for (const topic of ['room/*', 'room/[^a]?\\/+', '%2a', '50%']) await b.bus.join(topic)
  t.notOk(topics.some((topic) => /[*?[\]\\^]/.test(topic)))
  for (const topic of ['room/*', 'room/x', 'room/[^a]?\\/b', '%2a', '*', '50%']) await a.bus.publish(topic, topic)
  t.same(b.received.map(([topic, data]) => [topic, data]), ['room/*', 'room/[^a]?\\/b', '%2a', '50%'].map((topic) => [topic, topic]))
})

t.test('what others send through the emitter is not taken for a publication', (t) => {
  const { bus, emitter, received, gaps } = newBus(t, new ManualEmitter())
  bus.join('room')
  const envelope = { topic: 'room', node: 'other', sequence: 0, count: 1 }
  for (const message of [{}, { topic: 'room' }, { ...envelope }, { ...envelope, text: 42 }, { ...envelope, text: 'x', count: '1' }]) emitter.arrive('room', message)
  t.same(received, [])
  emitter.arrive('room', { ...envelope, text: 'x' })
  t.same(received, [['room', 'x']])
  t.same(gaps, [])
  t.end()
})

t.test('a gap in what another node publishes on a topic is told, with its size', (t) => {
  const [sender, receiver] = [newBus(t, new ManualEmitter()), newBus(t, new ManualEmitter())]
  receiver.bus.join('a')
  receiver.bus.join('#')
  const publish = (topic: string, isLost = false) => {
    sender.bus.publish(topic, 'x')
    const { message, answer } = sender.emitter.next('emit')
    answer()
    if (!isLost) receiver.emitter.arrive(topic, message)
  }
  publish('b')
  publish('a', true) // before the first: nobody knows
  publish('a')
  publish('b')
  publish('a')
  t.same(receiver.gaps, [])
  for (let i = 0; i < 3; i++) publish('a', true)
  publish('b')
  t.same(receiver.gaps, [])
  publish('a')
  t.same(receiver.gaps, [{ topic: 'a', missed: 3 }])
  publish('a')
  publish('b', true)
  publish('b')
  t.same(receiver.gaps, [{ topic: 'a', missed: 3 }, { topic: 'b', missed: 1 }])
  t.equal(receiver.received.length, 8)
  t.end()
})

t.test('joining waits for the confirmation, however often, and leaving takes the listener away', async (t) => {
  const { bus, emitter } = newBus(t, new ManualEmitter())
  const states: unknown[] = []
  const joined = Promise.all([bus.join('a'), bus.join('a')].map((state) => state.then((value) => states.push(value))))
  await null
  t.same(states, [])
  emitter.next('on').answer()
  await joined
  t.same(states, ['ok', 'ok'])
  t.equal(await bus.join('a'), 'ok')
  t.equal(emitter.calls.length, 0, 'it is subscribed to once')
  bus.leave('a')
  bus.leave('a')
  emitter.next('removeListener').answer()
  t.same([emitter.calls.length, emitter.listeners.length], [0, 0])
})

t.test('a broker that does not answer is lost: nothing waits for it or is kept for it, and it is found by itself', async (t) => {
  const clock = fakeClock(t)
  const { bus, emitter, lines, received } = newBus(t, new ManualEmitter())
  const [joined, published] = [bus.join('a'), bus.publish('a', 'x')]
  const [first, second] = [emitter.next('on'), emitter.next('emit')]
  await clock.tickAsync(1999)
  t.same(lines, [])
  await clock.tickAsync(1)
  const code = 'FST_WSA_BUS_LOST'
  t.match(await joined, { code, message: /within 2000 ms/ })
  t.match(await published, { code })
  const probe = emitter.next('emit')
  t.equal(probe.topic, 'fastify-websocket-async/probe')

  t.match(await bus.publish('a', 'y'), { code }, 'at once')
  t.match(await bus.join('a'), { code }, 'at once')
  t.match(await bus.join('b'), { code }, 'at once')
  const third = emitter.next('on')
  t.equal(third.topic, 'b', 'the emitter is told of subscriptions all the same')
  t.same(emitter.calls, [], 'nothing is kept for it')
  second.answer()
  first.answer()
  third.answer() // perhaps it has only given up
  t.same(messagesOf(lines), ['websocket bus lost'])

  await clock.tickAsync(1000)
  probe.answer()
  t.match(lines[1], { level: 30, msg: 'websocket bus found', unpublished: 1, duration: 1000 })
  t.same(emitter.calls.splice(0).map(({ name, topic }) => `${name} ${topic}`), ['removeListener a', 'on a', 'removeListener b', 'on b'], 'what was subscribed to meanwhile is, once more')
  emitter.arrive('a', { topic: 'a', node: 'other', sequence: 0, count: 1, text: 'z' })
  t.same(received, [['a', 'z']])
  const again = bus.publish('a', 'x')
  emitter.next('emit').answer()
  t.equal(await again, 'ok')
})

t.test('a broker that refuses is asked again every second, one that is silent twice a minute', async (t) => {
  const clock = fakeClock(t)
  const { bus, emitter, lines } = newBus(t, new ManualEmitter())
  emitter.state.emit('error', new Error('connect ECONNREFUSED'))
  emitter.state.emit('error', new Error('connect ECONNREFUSED'))
  t.equal(lines.length, 1)
  t.match(lines[0], { level: 40, err: { code: 'FST_WSA_BUS_LOST', message: /ECONNREFUSED/ } })
  for (let i = 0; i < 3; i++) {
    emitter.next('emit').answer(new Error('Stream is not writable'))
    await clock.tickAsync(999)
    t.equal(emitter.calls.length, 0)
    await clock.tickAsync(1)
  }
  const silent = emitter.next('emit')
  await clock.tickAsync(29_999)
  t.equal(emitter.calls.length, 0)
  await clock.tickAsync(1)
  emitter.next('emit').answer()
  silent.answer()
  t.equal(lines.length, 2)
  t.equal(clock.countTimers(), 0, 'there is no timer left')
  bus.publish('a', 'x')
  emitter.next('emit').answer(new Error('no'))
  t.equal(lines.length, 3)
  bus.close()
  t.equal(clock.countTimers(), 0, 'there is no timer left')
})

t.test('what the emitter throws is an answer too', async (t) => {
  const { bus, emitter, lines } = newBus(t, new ManualEmitter())
  const code = 'FST_WSA_BUS_LOST'
  const cause = new Error('closed')
  emitter.on = emitter.emit = emitter.removeListener = () => { throw cause }
  t.match(await bus.join('a'), { code, cause })
  t.match(await bus.publish('a', 'x'), { code, cause })
  bus.leave('a')
  t.same(messagesOf(lines), ['websocket bus lost'])
})

t.test('no more waits for a broker that is slow than maxBufferedBytes and one more', async (t) => {
  const { bus, emitter, lines } = newBus(t, new ManualEmitter(), 100)
  const states = Array.from({ length: 5 }, () => bus.publish('a', 'x'.repeat(60)))
  t.equal(emitter.calls.length, 2)
  t.match(await states[2], { code: 'FST_WSA_BUS_LOST', message: /120 bytes/ })
  emitter.next('emit').answer()
  emitter.next('emit').answer()
  t.equal(await states[1], 'ok')
  const next = bus.publish('a', 'x')
  emitter.next('emit').answer()
  t.equal(await next, 'ok')
  t.same(lines, [], 'it is slow, not lost')
})

t.test('at the end nothing is left waiting, listening or counting', async (t) => {
  const clock = fakeClock(t)
  const { bus, emitter, lines } = newBus(t, new ManualEmitter())
  const waiting = [bus.join('a'), bus.publish('b', 'x')]
  bus.close()
  for (const state of await Promise.all(waiting)) t.match(state, { code: 'FST_WSA_BUS_LOST', message: /app is closed/ })
  t.same([emitter.listeners.length, clock.countTimers()], [0, 0])
  t.match(await bus.publish('a', 'x'), { code: 'FST_WSA_BUS_LOST' })
  emitter.state.emit('error', new Error('an emitter may say so until it is closed, and nothing happens'))
  t.same(lines, [])
  t.equal(clock.countTimers(), 0)
})

t.test('joining and leaving 100,000 times leaves nothing', async (t) => {
  const { bus, emitter } = newBus(t, new ManualEmitter())
  for (let i = 0; i < 100_000; i++) {
    const joined = bus.join(`room/${i}`)
    emitter.next('on').answer()
    if (i % 2 === 0) await joined
    bus.leave(`room/${i}`)
    emitter.next('removeListener')
    if (emitter.listeners.length > 0) return t.fail('a listener is left')
  }
  t.pass()
})

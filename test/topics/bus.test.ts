import { EventEmitter } from 'node:events'
import Fastify from 'fastify'
import mqemitter from 'mqemitter'
import t, { type Test } from 'tap'
import { Bus, type PublicationGap, type PubSub } from '../../lib/topics/bus.js'
import { fromWire } from '../../lib/topics/envelope.js'
import { fakeClock } from '../fixtures/fake-clock.js'
import { captureLog, messagesOf } from '../fixtures/log.js'
import { ManualEmitter } from './manual-emitter.js'

/** A bus, what it has received, the gaps it has reported, and what it has logged. */
function newBus <Emitter extends PubSub> (t: Test, emitter: Emitter, maxPendingBytes = 1_000_000) {
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

const code = 'FST_WSA_BUS_LOST'

t.test('a publication reaches the other nodes, in order, and not the node that publishes it', async (t) => {
  const emitter = mqemitter()
  const [a, b] = [newBus(t, emitter), newBus(t, emitter)]
  for (const { bus } of [a, b]) t.equal(await bus.join('room'), 'ok')
  const bytes = Buffer.from([0, 255, 128])
  t.same(await Promise.all([a.bus.publish('room', 'one'), a.bus.publish('room', bytes), a.bus.publish('room', ''), a.bus.publish('room', Buffer.alloc(0)), b.bus.publish('room', 'two')]), Array(5).fill('ok'))
  t.same(b.received, [['room', 'one'], ['room', bytes], ['room', ''], ['room', Buffer.alloc(0)]])
  t.same(a.received, [['room', 'two']])
  a.bus.leave('room')
  await b.bus.publish('room', 'three')
  t.equal(a.received.length, 1, 'nothing is received after leave()')
  t.same([...a.gaps, ...b.gaps], [])
})

t.test('a publication is received once, though several subscriptions match it or the broker repeats it', async (t) => {
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

t.test('characters that a broker treats specially are ordinary characters of a topic', async (t) => {
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
  t.ok(topics.every((topic) => topic.startsWith('fastify-websocket-async/')), 'topics are apart from those of other programs')
  for (const topic of ['room/*', 'room/x', 'room/[^a]?\\/b', '%2a', '*', '50%']) await a.bus.publish(topic, topic)
  t.same(b.received.map(([topic, data]) => [topic, data]), ['room/*', 'room/[^a]?\\/b', '%2a', '50%'].map((topic) => [topic, topic]))
})

t.test('messages of other programs on the emitter are ignored', (t) => {
  const { bus, emitter, received, gaps } = newBus(t, new ManualEmitter())
  bus.join('room')
  const envelope = { node: 'other', sequence: 0, count: 1, text: 'x' }
  const wrong = [
    {}, { ...envelope, text: undefined }, { ...envelope, text: 42 }, { ...envelope, node: 1 },
    ...['1', 1e308, -1, 0.5, NaN].flatMap((value) => [{ ...envelope, count: value }, { ...envelope, sequence: value }]),
    { ...envelope, topic: 'room' }, { ...envelope, topic: 'fastify-websocket-async/' }, { ...envelope, topic: 1 }
  ]
  for (const message of wrong) emitter.arrive('room', message)
  t.same(received, [])
  emitter.arrive('room', envelope)
  t.same(received, [['room', 'x']])
  t.same(gaps, [])
  t.end()
})

t.test('owner.gap() is called with the number of publications of a topic that did not arrive', (t) => {
  const [sender, receiver] = [newBus(t, new ManualEmitter()), newBus(t, new ManualEmitter())]
  receiver.bus.join('a')
  receiver.bus.join('#')
  const publish = (topic: string, isLost = false) => {
    sender.bus.publish(topic, 'x')
    const { message, answer } = sender.emitter.next('emit')
    answer()
    if (!isLost) receiver.emitter.arrive(topic, message!)
  }
  publish('b')
  publish('a', true) // before the first that arrives, so it is not missed
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

t.test('a publication that could not be sent leaves a gap, which other nodes notice', async (t) => {
  const clock = fakeClock(t)
  const [sender, receiver] = [newBus(t, new ManualEmitter(), 3000), newBus(t, new ManualEmitter())]
  receiver.bus.join('a')
  const sent = [1, 2, 3].map(() => sender.bus.publish('a', ''))
  for (const { message, answer } of sender.emitter.calls.splice(0)) {
    receiver.emitter.arrive('a', message!)
    answer()
  }
  t.match(await sent[2], { code }, 'the third was too much')
  sender.bus.publish('a', '')
  receiver.emitter.arrive('a', sender.emitter.next('emit').message!)
  t.same(receiver.gaps, [{ topic: 'a', missed: 1 }])
  clock.tick(1000)
})

t.test('join() resolves when the broker confirms, and leave() removes the listener', async (t) => {
  const { bus, emitter } = newBus(t, new ManualEmitter())
  const states: unknown[] = []
  const joined = Promise.all([bus.join('a'), bus.join('a')].map((state) => state.then((value) => states.push(value))))
  await null
  t.same(states, [])
  emitter.next('on').answer()
  await joined
  t.same(states, ['ok', 'ok'])
  t.equal(await bus.join('a'), 'ok')
  t.equal(emitter.calls.length, 0, 'the emitter gets one listener for a topic')
  bus.leave('a')
  bus.leave('a')
  emitter.next('removeListener').answer()
  t.same([emitter.calls.length, emitter.listeners.length], [0, 0])
})

t.test('calls to a lost broker fail at once, nothing is kept for it, and unconfirmed subscriptions are renewed when it answers', async (t) => {
  const clock = fakeClock(t)
  const { bus, emitter, lines, received } = newBus(t, new ManualEmitter())
  const [joined, left, published] = [bus.join('a'), bus.join('b'), bus.publish('a', 'x')]
  const [first, , third] = emitter.calls.splice(0)
  await clock.tickAsync(2000)
  t.same(lines, [])
  await clock.tickAsync(250)
  t.match(await joined, { code, message: /within 2000 ms/ })
  t.match(await published, { code })
  t.match(lines, [{ level: 40, msg: 'websocket bus lost', err: { code } }])

  t.match(await bus.publish('a', 'y'), { code }, 'at once')
  for (const topic of ['a', 'c']) t.match(await bus.join(topic), { code }, 'at once')
  for (let i = 0; i < 1000; i++) {
    bus.join(`room/${i}`)
    bus.leave(`room/${i}`)
  }
  t.same(emitter.calls, [], 'the emitter gets no calls, which it would have to keep')
  bus.leave('b')
  t.same(emitter.takeAll(), ['removeListener b'], 'except the end of a subscription that it knows')
  first?.answer() // the emitter may only have given up
  third?.answer()

  await clock.tickAsync(1000)
  const probe = emitter.next('emit')
  t.equal(probe.topic, 'fastify-websocket-async/')
  await clock.tickAsync(500)
  probe.answer()
  t.equal(lines.length, 2)
  t.match(lines[1], { level: 30, msg: 'websocket bus found', unpublished: 1, duration: 1500 })
  t.same(emitter.calls.map(({ name, topic }) => `${name} ${fromWire(topic)}`), ['removeListener a', 'on a', 'on c'], 'subscriptions that were not confirmed are made again')
  for (const { answer } of emitter.calls.splice(0)) answer()
  for (const topic of ['a', 'c']) t.equal(await bus.join(topic), 'ok')
  emitter.arrive('a', { node: 'other', sequence: 0, count: 1, text: 'z' })
  t.same(received, [['a', 'z']])
  const again = bus.publish('a', 'x')
  emitter.next('emit').answer()
  t.equal(await again, 'ok')
  t.match(await left, { code })
  t.equal(clock.countTimers(), 0, 'no timer is left')
})

t.test('a broker that is found keeps its confirmed subscriptions, and nothing waits for it any more', async (t) => {
  const clock = fakeClock(t)
  const { bus, emitter } = newBus(t, new ManualEmitter(), 3000)
  const joined = bus.join('a')
  emitter.next('on').answer()
  t.equal(await joined, 'ok')
  const unconfirmed = [bus.publish('a', ''), bus.publish('a', '')]
  const late = emitter.calls.splice(0)
  await clock.tickAsync(2250)
  for (const state of await Promise.all(unconfirmed)) t.match(state, { code })
  await clock.tickAsync(1000)
  emitter.next('emit').answer()
  t.same(emitter.takeAll(), [])
  const published = [bus.publish('a', ''), bus.publish('a', '')]
  t.same(emitter.calls.length, 2, 'what was not confirmed does not count any more')
  for (const { answer } of late) answer()
  for (const { answer } of emitter.calls.splice(0)) answer()
  t.same(await Promise.all(published), ['ok', 'ok'])
})

t.test('a broker that refuses probes is probed every second, one that does not answer them every 30 s', async (t) => {
  const clock = fakeClock(t)
  const { emitter, lines } = newBus(t, new ManualEmitter())
  emitter.state.emit('error', new Error('connect ECONNREFUSED'))
  emitter.state.emit('error', new Error('connect ECONNREFUSED'))
  emitter.next('emit').answer(new Error('Stream is not writable'))
  await clock.tickAsync(0)
  t.match(lines, [{ msg: 'websocket bus failed' }, { level: 40, msg: 'websocket bus lost', err: { code, message: /ECONNREFUSED/ } }])
  for (let i = 0; i < 3; i++) {
    await clock.tickAsync(999)
    t.equal(emitter.calls.length, 0)
    await clock.tickAsync(1)
    if (i < 2) emitter.next('emit').answer(new Error('Stream is not writable'))
  }
  const silent = emitter.next('emit')
  await clock.tickAsync(29_999)
  t.equal(emitter.calls.length, 0)
  await clock.tickAsync(1)
  emitter.next('emit').answer()
  silent.answer()
  t.equal(lines.length, 3)
  t.equal(clock.countTimers(), 0, 'no timer is left')
})

t.test('a connection error of the emitter does not lose a broker that answers, and is logged once in a while', async (t) => {
  const clock = fakeClock(t)
  const { bus, emitter, lines } = newBus(t, new ManualEmitter())
  for (let i = 0; i < 10; i++) {
    emitter.state.emit('error', new Error('connect ECONNREFUSED')) // on the connection that receives
    const published = bus.publish('a', 'x')
    for (const { answer } of emitter.calls.splice(0)) answer()
    t.equal(await published, 'ok')
    await clock.tickAsync(2000)
  }
  t.match(lines, [{ level: 40, msg: 'websocket bus failed', err: { message: 'connect ECONNREFUSED' } }])
  await clock.tickAsync(30_000)
  emitter.state.emit('error', new Error('once more'))
  t.equal(lines.length, 2)
})

t.test('a publication that the broker refuses fails alone', async (t) => {
  const clock = fakeClock(t)
  const { bus, emitter, lines } = newBus(t, new ManualEmitter())
  const results = ['a', 'b', 'c'].map((topic) => bus.publish(topic, 'x'))
  const cause = new Error('NOPERM')
  for (const { answer } of emitter.calls.splice(0, 2)) answer(cause)
  emitter.next('emit').answer()
  for (const result of results.splice(0, 2)) t.match(await result, { code, message: /NOPERM/, cause })
  t.equal(await results[0], 'ok')
  emitter.next('emit').answer() // a probe
  await clock.tickAsync(1000)
  t.match(lines, [{ level: 40, msg: 'websocket publications refused', unpublished: 2, err: { code } }])
  t.equal(lines.length, 1)

  const refused = bus.publish('a', 'x')
  emitter.next('emit').answer(cause)
  await refused
  emitter.next('emit').answer(new Error('nor this'))
  await clock.tickAsync(0)
  t.equal(lines.at(-1)?.msg, 'websocket bus lost', 'a broker that refuses the probe too is lost')
})

t.test('an exception of the emitter counts as its answer', async (t) => {
  const { bus, emitter, lines } = newBus(t, new ManualEmitter())
  const cause = new Error('closed')
  const { emit } = emitter
  let calls = 0
  emitter.on = emitter.emit = emitter.removeListener = () => {
    calls++
    throw cause
  }
  t.match(await bus.join('a'), { code, cause })
  t.match(await bus.join('a'), { code, cause })
  t.equal(calls, 2, 'the next join() tries again')
  t.same(messagesOf(lines), [], 'the failure may concern this topic only')
  emitter.emit = emit
  const published = bus.publish('b', 'x')
  emitter.next('emit').answer()
  t.equal(await published, 'ok')
  emitter.emit = () => { throw cause }
  t.match(await bus.publish('a', 'x'), { code, cause })
  bus.leave('a')
  await new Promise(setImmediate)
  t.same(messagesOf(lines), ['websocket bus lost'])
})

t.test('while more than maxBufferedBytes wait for a slow broker, publications are refused', async (t) => {
  const clock = fakeClock(t)
  const { bus, emitter, lines } = newBus(t, new ManualEmitter(), 5000)
  const states = Array.from({ length: 5 }, () => bus.publish('a', 'x'.repeat(600)))
  t.equal(emitter.calls.length, 2)
  t.match(await states[2], { code, message: /5296 bytes/ })
  for (const { answer } of emitter.calls.splice(0)) answer()
  t.equal(await states[1], 'ok')
  const small = Array.from({ length: 10 }, () => bus.publish('a', ''))
  t.equal(emitter.calls.length, 3)
  for (const { answer } of emitter.calls.splice(0)) answer()
  t.equal(await small[2], 'ok')
  await clock.tickAsync(1000)
  t.match(lines, [{ msg: 'websocket publications refused', unpublished: 10 }], 'a slow broker is not lost')
  t.equal(lines.length, 1)
  t.equal(clock.countTimers(), 0)
})

t.test('close() settles every call, and leaves no listener and no timer', async (t) => {
  const clock = fakeClock(t)
  const emitter = new ManualEmitter()
  for (let i = 0; i < 20; i++) {
    const { bus, lines } = newBus(t, emitter)
    const waiting = [bus.join('a'), bus.publish('b', 'x')]
    bus.close()
    for (const state of await Promise.all(waiting)) t.match(state, { code, message: /^Cannot reach other nodes: the app is closing;/ })
    t.same([emitter.listeners.length, clock.countTimers()], [0, 0])
    for (const state of [bus.publish('a', 'x'), bus.join('c')]) t.match(await state, { code, message: /app is closing/ })
    emitter.state.emit('error', new Error('ignored, because the emitter stays open after the bus'))
    t.same(lines, [])
    t.equal(clock.countTimers(), 0)
  }
  t.equal(emitter.state.listenerCount('error'), 1, 'one listener that ignores errors')
})

t.test('publications are received in order, though another listener of the emitter is slow', async (t) => {
  const emitter = mqemitter({ concurrency: 1 })
  const [a, b] = [newBus(t, emitter), newBus(t, emitter)]
  let isBusy = true // with the first message; the emitter then delivers each message from within done() of the one before
  emitter.on('#', (_message, done) => {
    if (isBusy) setImmediate(done)
    else done()
    isBusy = false
  })
  await b.bus.join('a')
  const texts = ['0', '1', '2', '3', '4']
  await Promise.all(texts.map((text) => a.bus.publish('a', text)))
  while (b.received.length < texts.length) await new Promise(setImmediate)
  t.same(b.received.map(([, text]) => text), texts)
})

t.test('a gap is reported once and exactly, with overlapping subscriptions and repeated publications', (t) => {
  const { bus, emitter, gaps, received } = newBus(t, new ManualEmitter())
  const arrive = (count: number, sequence = count) => emitter.arrive('a', { node: 'other', sequence, count, text: String(count) })
  bus.join('a')
  arrive(1)
  bus.join('#')
  arrive(4)
  t.same(gaps.splice(0), [{ topic: 'a', missed: 2 }], 'the younger subscription has missed nothing')
  arrive(4)
  arrive(1)
  arrive(5)
  t.same(gaps.splice(0), [], 'a repeated publication does not turn the count back')
  bus.leave('a')
  bus.join('a')
  emitter.listeners.reverse()
  arrive(7)
  t.same(gaps.splice(0), [{ topic: 'a', missed: 1 }])
  for (const topic of ['a', '#']) bus.leave(topic)
  arrive(8)
  bus.join('a')
  arrive(10)
  t.same(gaps, [], 'what was published without a subscription is not missed')
  t.same(received.map(([, text]) => text), ['1', '4', '5', '7', '10'])
  t.end()
})

t.test('no listener is left after 100,000 times join() and leave()', async (t) => {
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

t.test('a message that the listeners of mqemitter-redis cannot read is logged, and does not end the process', async (t) => {
  const clock = fakeClock(t)
  const subConn = new EventEmitter()
  const read: unknown[] = []
  const emitter = Object.assign(new ManualEmitter(), { subConn })
  for (const name of ['messageBuffer', 'pmessageBuffer']) {
    subConn.on(name, (...args) => {
      read.push(args)
      if (args.at(-1) === 'unreadable') throw new RangeError(name)
    })
  }
  const { lines } = newBus(t, emitter)
  for (const [name, args] of [['messageBuffer', ['topic', 'message']], ['pmessageBuffer', ['pattern', 'topic', 'message']]] as const) {
    subConn.emit(name, ...args)
    t.same(read.splice(0), [args])
  }
  t.same(messagesOf(lines), [])
  const logged = () => lines.filter(({ msg }) => msg === 'websocket bus received an unreadable message').length
  for (let i = 0; i < 5; i++) subConn.emit('pmessageBuffer', 'pattern', 'topic', 'unreadable')
  t.equal(logged(), 1)
  t.match(lines[0], { level: 40, err: { type: 'RangeError', message: 'pmessageBuffer' } })
  subConn.emit('messageBuffer', 'topic', 'unreadable')
  t.equal(logged(), 1, 'only the first of a series is logged')
  clock.tick(30_000)
  subConn.emit('messageBuffer', 'topic', 'unreadable')
  t.equal(logged(), 2)
})

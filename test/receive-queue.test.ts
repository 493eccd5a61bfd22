import { install } from '@sinonjs/fake-timers'
import t, { type Test } from 'tap'
import { ReceiveQueue } from '../lib/receive-queue.js'

function fakeClock (t: Test) {
  const clock = install({ toFake: ['setTimeout', 'clearTimeout', 'setImmediate', 'clearImmediate'] })
  t.teardown(() => clock.uninstall())
  return clock
}

t.test('receive() delivers what is already there, in order', async (t) => {
  const queue = new ReceiveQueue<number>()
  for (let i = 0; i < 1000; i++) queue.push(i)
  for (let i = 0; i < 1000; i++) {
    if (i % 3 === 0) queue.push(1000 + i / 3)
    t.equal(queue.length, 1000 - i + Math.floor(i / 3) + 1)
    t.equal(await queue.receive({}), i)
  }
  t.equal(await queue.receive({ timeout: 0 }), 1000)
})

t.test('receive() serves those who wait first come, first served', async (t) => {
  const queue = new ReceiveQueue<string>()
  const waiting = [queue.receive({}), queue.receive({ timeout: 10_000 }), queue.receive({ signal: new AbortController().signal })]
  for (const message of ['a', 'b', 'c', 'd']) queue.push(message)
  t.same(await Promise.all(waiting), ['a', 'b', 'c'])
  t.equal(queue.length, 1)
})

t.test('receive() ends with null on timeout, on abort, on end, and touches only that call', async (t) => {
  const clock = fakeClock(t)
  const queue = new ReceiveQueue<string>()
  const controller = new AbortController()
  const waiting = [queue.receive({ timeout: 10 }), queue.receive({ signal: controller.signal }), queue.receive({}), queue.receive({})]
  clock.tick(10)
  controller.abort()
  queue.push('message')
  queue.end()
  t.same(await Promise.all(waiting), [null, null, 'message', null])
  t.equal(clock.countTimers(), 0)
})

t.test('receive() with an aborted signal, with timeout 0, and after the end settles in a later turn', async (t) => {
  const clock = fakeClock(t)
  const queue = new ReceiveQueue<string>()
  queue.push('kept')
  const settled: string[] = []
  queue.receive({ signal: AbortSignal.abort() }).then((message) => settled.push(`aborted ${message}`))
  t.equal(await queue.receive({ timeout: 0 }), 'kept')
  queue.receive({ timeout: 0 }).then((message) => settled.push(`polled ${message}`))
  queue.end()
  queue.receive({}).then((message) => settled.push(`ended ${message}`))
  for (let i = 0; i < 10; i++) await null
  t.same(settled, [], 'no microtask settles them')
  await clock.runAllAsync()
  t.same(settled, ['aborted null', 'polled null', 'ended null'])
})

t.test('what came before the end is delivered after it', async (t) => {
  const queue = new ReceiveQueue<string>()
  queue.push('a')
  queue.push('b')
  queue.end()
  t.equal(queue.hasEnded, false)
  t.equal(await queue.receive({}), 'a')
  t.equal(await queue.receive({ timeout: 5 }), 'b')
  t.equal(queue.hasEnded, true)
  t.equal(await queue.receive({}), null)
})

t.test('a message in the same turn as a timeout or an abort is neither lost nor delivered twice', async (t) => {
  const clock = fakeClock(t)
  const queue = new ReceiveQueue<number>()
  const received: (number | null)[] = []
  const rounds = 10_000
  let ended = 0
  for (let i = 0; i < rounds; i++) {
    const controller = new AbortController()
    const push = () => queue.push(i)
    const abort = () => controller.abort()
    const order = i % 6
    if (order === 4) setTimeout(push, 5) // due before the timeout, in the same tick of the clock
    const call = queue.receive({ timeout: 5, signal: controller.signal })
    if (order === 5) setTimeout(push, 5) // due after it
    if (order === 0 || order === 1) push()
    if (order === 0 || order === 2) abort()
    clock.tick(5)
    if (order === 2 || order === 3) push()
    const message = await call
    if (message === null) ended++
    else received.push(message)
    if (queue.length > 0) received.push(await queue.receive({ timeout: 0 }))
  }
  t.same(received, Array.from({ length: rounds }, (_, i) => i))
  t.equal(ended, received.filter((i) => [2, 3, 5].includes(i as number % 6)).length)
  t.equal(clock.countTimers(), 0)
})

t.test('nothing is left of a call that has ended', async (t) => {
  const queue = new ReceiveQueue<string>()
  const controller = new AbortController()
  let listeners = 0
  const { signal } = controller
  const { addEventListener, removeEventListener } = signal
  signal.addEventListener = (...args: unknown[]) => {
    listeners++
    return Reflect.apply(addEventListener, signal, args)
  }
  signal.removeEventListener = (...args: unknown[]) => {
    listeners--
    return Reflect.apply(removeEventListener, signal, args)
  }
  const waiting = [queue.receive({ signal }), queue.receive({ signal, timeout: 1 }), queue.receive({ signal })]
  t.equal(listeners, 3)
  queue.push('a')
  await waiting[1]
  queue.end()
  t.same(await Promise.all(waiting), ['a', null, null])
  t.equal(listeners, 0)
})

import { getEventListeners } from 'node:events'
import t from 'tap'
import { toIteration, Waiters } from '../../lib/receive/waiters.js'
import { fakeClock } from '../fixtures/fake-clock.js'

t.test('give() serves the receive that has waited longest, and returns false if none waits', async (t) => {
  const waiters = new Waiters<string>()
  t.equal(waiters.give('early'), false)
  const waiting = [waiters.add(Infinity, undefined), waiters.add(1000, undefined), waiters.add(Infinity, new AbortController().signal)]
  t.same(['a', 'b', 'c', 'late'].map((message) => waiters.give(message)), [true, true, true, false])
  t.same(await Promise.all(waiting), ['a', 'b', 'c'])
  waiters.end()
})

t.test('an iteration waits in the same line, and gets what an iterator gives', async (t) => {
  const waiters = new Waiters<string>()
  const waiting = [waiters.add(Infinity, undefined), waiters.addIteration(), waiters.add(Infinity, undefined), waiters.addIteration()]
  for (const message of ['a', 'b', 'c']) waiters.give(message)
  waiters.end()
  t.same(await Promise.all(waiting), ['a', { done: false, value: 'b' }, 'c', { done: true, value: undefined }])
  t.same([toIteration('a'), toIteration(null)], [{ done: false, value: 'a' }, { done: true, value: undefined }])
})

for (const how of ['timeout', 'abort'] as const) {
  for (const gone of [[0], [1], [3], [0, 1], [1, 2], [2, 3], [0, 3], [0, 1, 2, 3]]) {
    t.test(`receives ${gone} of four end with a ${how}: the others keep their order`, async (t) => {
      const clock = fakeClock(t)
      const waiters = new Waiters<string>()
      const controllers = [0, 1, 2, 3].map(() => new AbortController())
      const waiting = controllers.map(({ signal }, i) => waiters.add(how === 'timeout' && gone.includes(i) ? 10 : Infinity, signal))
      clock.tick(10)
      if (how === 'abort') for (const i of gone) controllers[i]?.abort()
      waiting.push(waiters.add(Infinity, undefined))
      const given = ['a', 'b', 'c', 'd', 'e'].filter((message) => waiters.give(message))
      t.same(given, ['a', 'b', 'c', 'd', 'e'].slice(0, 5 - gone.length))
      t.same(await Promise.all(waiting), [0, 1, 2, 3, 4].map((i) => gone.includes(i) ? null : given.shift()))
      waiters.end()
      t.equal(clock.countTimers(), 0)
      t.same(controllers.flatMap(({ signal }) => getEventListeners(signal, 'abort')), [])
    })
  }
}

t.test('end() gives null to every receive, and returns whether one waited', async (t) => {
  const clock = fakeClock(t)
  const { signal } = new AbortController()
  const waiters = new Waiters<string>()
  t.equal(waiters.end(), false)
  const waiting = [waiters.add(10, signal), waiters.add(20, undefined), waiters.add(Infinity, signal)]
  t.equal(waiters.end(), true)
  t.equal(waiters.end(), false)
  t.same(await Promise.all(waiting), [null, null, null])
  t.equal(clock.countTimers(), 0)
  t.same(getEventListeners(signal, 'abort'), [])
})

t.test('a timer serves receive after receive, each with its whole timeout', async (t) => {
  const clock = fakeClock(t)
  const waiters = new Waiters<string>()
  for (let i = 0; i < 5; i++) {
    const received = waiters.add(100, undefined)
    clock.tick(90)
    t.equal(waiters.give(`message ${i}`), true)
    t.equal(await received, `message ${i}`)
    t.equal(clock.countTimers(), 1)
  }
  const late: unknown[] = []
  waiters.add(100, undefined).then((message) => late.push(message))
  await clock.tickAsync(99)
  t.same(late, [])
  await clock.tickAsync(1)
  t.same(late, [null])
  t.equal(clock.countTimers(), 0)
})

t.test('the timer of a receive that has its message ends no other', async (t) => {
  const clock = fakeClock(t)
  const waiters = new Waiters<string>()
  waiters.add(100, undefined)
  waiters.give('a')
  const untimed = waiters.add(Infinity, undefined)
  clock.tick(100)
  const timed = waiters.add(100, undefined)
  waiters.give('b')
  waiters.give('c')
  t.same(await Promise.all([untimed, timed]), ['b', 'c'])
  waiters.end()
})

t.test('another timeout replaces the timer that was left running', async (t) => {
  const clock = fakeClock(t)
  const waiters = new Waiters<string>()
  const ended: string[] = []
  const add = (timeout: number) => waiters.add(timeout, undefined).then((message) => { ended.push(`${message} at ${clock.now}`) })
  add(100)
  waiters.give('a')
  add(30)
  t.equal(clock.countTimers(), 1)
  await clock.tickAsync(30)
  add(100)
  await clock.tickAsync(100)
  t.same(ended, ['a at 0', 'null at 30', 'null at 130'])
  t.equal(clock.countTimers(), 0)
})

t.test('receives that wait at the same time have their own timeouts', async (t) => {
  const clock = fakeClock(t)
  const waiters = new Waiters<string>()
  const ended: string[] = []
  for (const timeout of [30, 10, 30, 20]) waiters.add(timeout, undefined).then((message) => { ended.push(`${timeout} ${message} at ${clock.now}`) })
  await clock.tickAsync(40)
  t.same(ended, ['10 null at 10', '20 null at 20', '30 null at 30', '30 null at 30'])
  t.equal(clock.countTimers(), 0)
})

t.test('a signal has one listener for all receives, and none once they have ended', async (t) => {
  const waiters = new Waiters<string>()
  const { signal } = new AbortController()
  const waiting = Array.from({ length: 20 }, () => waiters.add(Infinity, signal))
  t.equal(getEventListeners(signal, 'abort').length, 1)
  for (let i = 0; i < 20; i++) waiters.give(String(i))
  t.same(getEventListeners(signal, 'abort'), [])
  t.same(await Promise.all(waiting), Array.from({ length: 20 }, (_, i) => String(i)))
})

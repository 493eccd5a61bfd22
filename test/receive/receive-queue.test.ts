import { getEventListeners } from 'node:events'
import t, { type Test } from 'tap'
import { Message } from '../../lib/receive/message.js'
import { FRAMES_IN_A_READ, MESSAGE_COST, receiveLimits, type ReceiveLimits } from '../../lib/receive/receive-limits.js'
import { ReceiveQueue } from '../../lib/receive/receive-queue.js'
import { fakeClock } from '../fixtures/fake-clock.js'

const UNLIMITED = { messages: Infinity, bytes: Infinity }

/** A queue of strings, which have a length, or of numbers, which have none. `flow` lists what the queue asked for. */
function newQueue<T extends string | number> (limits: ReceiveLimits = { highWater: UNLIMITED, probeHighWater: UNLIMITED, hardCap: UNLIMITED }) {
  const flow: string[] = []
  const queue = new ReceiveQueue<{ value: T, length: number, memory: number, moveTo (): number }>(limits, {
    pauseReading: () => flow.push('pause'),
    resumeReading: () => flow.push('resume'),
    receiveOnEnd: () => flow.push('receive after the end')
  })
  return {
    flow,
    push: (value: T) => queue.push({ value, length: typeof value === 'string' ? value.length : 0, memory: 0, moveTo: () => 0 }),
    receive: async (options: { timeout?: number, signal?: AbortSignal }): Promise<T | null> => (await queue.receive(options.timeout, options.signal))?.value ?? null,
    end: () => queue.end(),
    readAhead: () => queue.readAhead(),
    next: () => queue.next(),
    get length () { return queue.length },
    get hasEnded () { return queue.hasEnded },
    get isWaitedFor () { return queue.isWaitedFor }
  }
}

/** Timers and turns of the event loop come only when the test moves the clock on. */
const clockOf = (t: Test) => fakeClock(t, ['setTimeout', 'clearTimeout', 'setImmediate', 'clearImmediate'])

t.test('receive() delivers what is already there, in order', async (t) => {
  const queue = newQueue<number>()
  for (let i = 0; i < 1000; i++) queue.push(i)
  for (let i = 0; i < 1000; i++) {
    if (i % 3 === 0) queue.push(1000 + i / 3)
    t.equal(queue.length, 1000 - i + Math.floor(i / 3) + 1)
    t.equal(await queue.receive({}), i)
  }
  t.equal(await queue.receive({ timeout: 0 }), 1000)
})

t.test('receive() serves those who wait first come, first served', async (t) => {
  const queue = newQueue<string>()
  const waiting = [queue.receive({}), queue.receive({ timeout: 10_000 }), queue.receive({ signal: new AbortController().signal })]
  for (const message of ['a', 'b', 'c', 'd']) queue.push(message)
  t.same(await Promise.all(waiting), ['a', 'b', 'c'])
  t.equal(queue.length, 1)
})

t.test('receive() that gives up among others leaves them their turn', async (t) => {
  const queue = newQueue<string>()
  const controllers = Array.from({ length: 4 }, () => new AbortController())
  const waiting = controllers.map(({ signal }) => queue.receive({ signal }))
  controllers[1]?.abort()
  controllers[3]?.abort()
  waiting.push(queue.receive({}))
  for (const message of ['a', 'b', 'c', 'd']) queue.push(message)
  t.same(await Promise.all(waiting), ['a', null, 'b', null, 'c'])
  t.equal(queue.length, 1)
})

t.test('receive() that waits gets its own time, whatever the others have', async (t) => {
  const clock = clockOf(t)
  const queue = newQueue<string>()
  const ended: string[] = []
  const receive = (timeout: number) => { queue.receive({ timeout }).then((message) => ended.push(`${timeout} ${message}`)) }
  receive(30)
  queue.push('first')
  await clock.tickAsync(20)
  for (const timeout of [30, 10, 30, 20]) receive(timeout)
  await clock.tickAsync(9)
  t.same(ended, ['30 first'])
  await clock.tickAsync(1)
  t.same(ended, ['30 first', '10 null'])
  await clock.tickAsync(10)
  t.same(ended, ['30 first', '10 null', '20 null'])
  await clock.tickAsync(9)
  t.equal(ended.length, 3)
  await clock.tickAsync(1)
  t.same(ended.slice(3), ['30 null', '30 null'])
  queue.end()
  t.equal(clock.countTimers(), 0)
})

t.test('receive() ends with null on timeout, on abort, on end, and touches only that call', async (t) => {
  const clock = clockOf(t)
  const queue = newQueue<string>()
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
  const clock = clockOf(t)
  const queue = newQueue<string>()
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

t.test('receive() delivers messages that came before the end after it, then null', async (t) => {
  const queue = newQueue<string>()
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
  const clock = clockOf(t)
  const queue = newQueue<number>()
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

t.test('a receive that has ended leaves no timer and no listener', async (t) => {
  const queue = newQueue<string>()
  const controller = new AbortController()
  const { signal } = controller
  const listeners = () => getEventListeners(signal, 'abort').length
  const waiting = [queue.receive({ signal }), queue.receive({ signal, timeout: 1 }), queue.receive({ signal })]
  t.equal(listeners(), 1)
  queue.push('a')
  await waiting[1]
  queue.end()
  t.same(await Promise.all(waiting), ['a', null, null])
  t.equal(listeners(), 0)
})

t.test('isWaitedFor tells whether a receive or an iteration waits, until it has a message, gives up, or has come to the end', async (t) => {
  const queue = newQueue<string>()
  const controller = new AbortController()
  t.equal(queue.isWaitedFor, false)
  const waiting = [queue.receive({}), queue.receive({ signal: controller.signal })]
  t.equal(queue.isWaitedFor, true)
  queue.push('a')
  t.equal(queue.isWaitedFor, true, 'the other waits still')
  controller.abort()
  t.equal(queue.isWaitedFor, false)
  queue.push('kept')
  waiting.push(queue.receive({}))
  t.equal(queue.isWaitedFor, false, 'it had a message at once')
  const iteration = queue.next()
  t.equal(queue.isWaitedFor, true)
  queue.end()
  t.equal(queue.isWaitedFor, false)
  t.same(await Promise.all(waiting), ['a', null, 'kept'])
  t.same(await iteration, { done: true, value: undefined })
})

t.test('push() pauses reading above either mark, and receive() resumes it at a quarter of both', async (t) => {
  const mark = { messages: 8, bytes: 9 * MESSAGE_COST }
  const queue = newQueue<string>({ highWater: mark, probeHighWater: mark, hardCap: UNLIMITED })
  for (let i = 0; i < 8; i++) queue.push('a')
  t.same(queue.flow, [])
  queue.push('b')
  queue.push('c')
  t.same(queue.flow, ['pause'])
  for (let i = 0; i < 7; i++) await queue.receive({})
  t.same(queue.flow, ['pause'])
  await queue.receive({})
  t.same(queue.flow, ['pause', 'resume'])
  queue.push('x'.repeat(7 * MESSAGE_COST))
  t.same(queue.flow, ['pause', 'resume', 'pause'])
  for (let i = 0; i < 2; i++) await queue.receive({})
  t.same(queue.flow, ['pause', 'resume', 'pause'])
  await queue.receive({})
  t.same(queue.flow, ['pause', 'resume', 'pause', 'resume'])
})

t.test('push() refuses a message at the hard cap', async (t) => {
  const mark = { messages: 1, bytes: 1000 }
  const queue = newQueue<string>({ highWater: mark, probeHighWater: mark, hardCap: { messages: 3, bytes: 1000 } })
  t.same(['a', 'b', 'c', 'd'].map((message) => queue.push(message)), [true, true, true, false])
  const large = newQueue<string>({ highWater: mark, probeHighWater: mark, hardCap: { messages: 3, bytes: 1000 } })
  t.same(['x'.repeat(1000), 'b'].map((message) => large.push(message)), [true, false])
  const received = large.receive({})
  t.equal(await received, 'x'.repeat(1000))
  const waiting = large.receive({})
  t.equal(large.push('c'), true)
  t.equal(await waiting, 'c')
})

t.test('readAhead() reads on, up to a higher mark, once in each pause', async (t) => {
  const queue = newQueue<string>({ highWater: { messages: 4, bytes: 10_000 }, probeHighWater: { messages: 6, bytes: 10_000 }, hardCap: UNLIMITED })
  queue.readAhead()
  t.same(queue.flow, [], 'nothing is paused')
  for (let i = 0; i < 5; i++) queue.push('a')
  t.same(queue.flow, ['pause'])
  queue.readAhead()
  queue.readAhead()
  t.same(queue.flow, ['pause', 'resume'])
  queue.push('b')
  t.same(queue.flow, ['pause', 'resume'])
  queue.push('c')
  queue.readAhead()
  t.same(queue.flow, ['pause', 'resume', 'pause'])
  for (let i = 0; i < 6; i++) await queue.receive({})
  t.same(queue.flow, ['pause', 'resume', 'pause', 'resume'])
  for (let i = 0; i < 4; i++) queue.push('d')
  t.same(queue.flow.at(-1), 'pause', 'the lower mark is in force again')
})

t.test('readAhead() does not resume what is above the higher mark already', async (t) => {
  const queue = newQueue<string>({ highWater: { messages: 1, bytes: 10_000 }, probeHighWater: { messages: 2, bytes: 10_000 }, hardCap: UNLIMITED })
  for (let i = 0; i < 5; i++) queue.push('a')
  queue.readAhead()
  t.same(queue.flow, ['pause'])
})

t.test('a message counts with what it takes beside its payload', (t) => {
  const queue = newQueue<string>({ highWater: { messages: Infinity, bytes: 10 * MESSAGE_COST }, probeHighWater: UNLIMITED, hardCap: UNLIMITED })
  for (let i = 0; i < 10; i++) queue.push('')
  t.same(queue.flow, [])
  queue.push('')
  t.same(queue.flow, ['pause'])
  t.end()
})

t.test('an honest peer cannot reach the cap: one read after the mark, one after reading ahead', (t) => {
  const mark = { messages: 64, bytes: 1024 * 1024 }
  const limits = receiveLimits(mark, 1024 * 1024)
  const queue = newQueue<string>(limits)
  const read = () => {
    queue.push('x'.repeat(1024 * 1024)) // the message that the read completes
    for (let i = 1; i < FRAMES_IN_A_READ; i++) {
      if (!queue.push('')) return false
    }
    return true
  }
  t.equal(read(), true)
  queue.readAhead()
  t.same(queue.flow, ['pause'], 'so many tiny messages are more than reading ahead admits')
  const small = newQueue<string>(limits)
  for (let i = 0; i < 65; i++) small.push('')
  small.readAhead()
  t.same(small.flow, ['pause', 'resume'])
  t.end()
})

/** A message that counts how often its payload was moved. */
class View extends Message<null> {
  moves = 0

  constructor (bytes: Buffer, start: number, end: number) {
    super(bytes, start, end, true, false, null)
  }

  override moveTo (memory: Buffer, start: number) {
    this.moves++
    return super.moveTo(memory, start)
  }
}

/** A queue of views of reads of 1,000 bytes, of which `mark / 4` may be kept. */
function newViews (mark: number) {
  const queue = new ReceiveQueue<View>({ highWater: { messages: Infinity, bytes: mark }, probeHighWater: UNLIMITED, hardCap: UNLIMITED }, { pauseReading () {}, resumeReading () {}, receiveOnEnd () {} })
  const all: View[] = []
  return {
    all,
    /** A read in which messages of these sizes come, each with its number in every byte. */
    read (...sizes: number[]) {
      const chunk = Buffer.alloc(1000)
      queue.readOnStart(chunk)
      let at = 0
      for (const size of sizes) {
        const view = new View(chunk.fill(all.length, at, at + size), at, at += size)
        all.push(view)
        queue.push(view)
      }
    },
    take (count: number) {
      return Array.from({ length: count }, () => queue.poll() as View) // there are as many
    },
    get length () { return queue.length }
  }
}

function memoryOf (views: View[]): number {
  return [...new Set(views.map(({ bytes }) => bytes.buffer))].reduce((sum, { byteLength }) => sum + byteLength, 0)
}

t.test('messages that wait keep only the last few reads in memory', (t) => {
  const queue = newViews(16_000)
  for (let i = 0; i < 200; i++) queue.read(1)
  const taken = queue.take(200)
  t.same(taken.map(({ bytes }) => bytes[0]), Array.from({ length: 200 }, (_, i) => i), 'the same bytes')
  t.ok(memoryOf(taken) <= 200 + 4000 + 2 * 1000, `${memoryOf(taken)} bytes`)
  t.ok(taken.slice(-3).every(({ moves }) => moves === 0), 'the last few were not moved yet')
  t.ok(taken.every(({ moves }) => moves <= 1), 'none is moved twice')
  t.end()
})

t.test('messages of a few reads are not copied', (t) => {
  const queue = newViews(1024 * 1024)
  for (let i = 0; i < 100; i++) queue.read(1, 2, 3)
  t.ok(queue.all.every(({ moves }) => moves === 0))
  t.end()
})

t.test('a message that is nearly its whole read is not copied', (t) => {
  const queue = newViews(4000)
  for (let i = 0; i < 10; i++) queue.read(900, 1)
  t.same(queue.take(12).map(({ moves }) => moves), Array.from({ length: 12 }, (_, i) => i % 2))
  t.end()
})

t.test('messages that are received as fast as they come are not copied', (t) => {
  const queue = newViews(4000)
  for (let i = 0; i < 100; i++) {
    queue.read(1, 2, 3)
    t.same(queue.take(3).map(({ length, moves }) => [length, moves]), [[1, 0], [2, 0], [3, 0]])
  }
  t.end()
})

t.test('messages that wait do not keep their reads in memory, whatever was received in between', (t) => {
  for (const taken of [0, 1, 20, 35, 39, 40]) {
    const queue = newViews(4000)
    for (let i = 0; i < 40; i++) queue.read(1)
    queue.take(taken)
    for (let i = 0; i < 60; i++) queue.read(1)
    const waiting = queue.take(queue.length)
    t.same(waiting.map(({ bytes }) => bytes[0]), Array.from({ length: 100 - taken }, (_, i) => taken + i))
    t.ok(memoryOf(waiting) <= 100 + 2 * 1000, `${memoryOf(waiting)} bytes after ${taken} were taken`)
    t.ok(waiting.every(({ moves }) => moves <= 1), 'none is moved twice')
  }
  t.end()
})

t.test('end() resumes reading, so that a close frame is seen', async (t) => {
  const queue = newQueue<string>({ highWater: { messages: 1, bytes: 10_000 }, probeHighWater: UNLIMITED, hardCap: UNLIMITED })
  for (let i = 0; i < 5; i++) queue.push('a')
  queue.end()
  for (let i = 0; i < 5; i++) await queue.receive({})
  t.same(queue.flow, ['pause', 'resume'])
})

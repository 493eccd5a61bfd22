import fc from 'fast-check'
import t from 'tap'
import type { Publication } from '../../lib/send/frame.js'
import { Topics, type Subscriber } from '../../lib/topics/topics.js'

/** A subscriber that keeps what it is given. */
function newSubscriber () {
  const got: (string | Buffer)[] = []
  const subscriber = {
    topics: undefined,
    isClosed: false,
    isSlow: false,
    got,
    deliver ({ data }: Publication) {
      if (this.isClosed) return null
      if (!this.isSlow) got.push(data)
      return !this.isSlow
    }
  }
  return subscriber as typeof subscriber & Subscriber
}

t.test('a subscriber gets each publication on its topics once, until it unsubscribes', (t) => {
  const topics = new Topics(null)
  const [a, b] = [newSubscriber(), newSubscriber()]
  topics.subscribe(a, 'room/1')
  topics.subscribe(a, 'room/1')
  topics.subscribe(b, 'room/1')
  topics.subscribe(b, 'room/2')
  t.same(topics.deliver('room/1', 'one'), { delivered: 2, dropped: 0 })
  t.same(topics.deliver('room/2', 'two'), { delivered: 1, dropped: 0 })
  t.same(topics.deliver('room', 'none'), { delivered: 0, dropped: 0 })
  topics.unsubscribe(b, 'room/1')
  topics.unsubscribe(b, 'room/1')
  topics.unsubscribe(b, 'never')
  t.same(topics.deliver('room/1', 'three'), { delivered: 1, dropped: 0 })
  t.same(a.got, ['one', 'three'])
  t.same(b.got, ['one', 'two'])
  t.end()
})

t.test('deliver() skips the excepted subscriber, counts slow ones as dropped, and ended ones not at all', (t) => {
  const topics = new Topics(null)
  const [a, b, slow, ended] = [newSubscriber(), newSubscriber(), newSubscriber(), newSubscriber()]
  for (const each of [a, b, slow, ended]) topics.subscribe(each, 'x')
  slow.isSlow = ended.isClosed = true
  t.same(topics.deliver('x', 'data', a), { delivered: 1, dropped: 1 })
  t.same([a.got, b.got, ended.got], [[], ['data'], []])
  topics.subscribe(ended, 'y')
  t.same(topics.deliver('y', 'data'), { delivered: 0, dropped: 0 }, 'a subscriber that has ended cannot subscribe')
  t.equal(topics.size, 1)
  t.end()
})

/** Topics over a bus that notes its calls. */
function newTopicsWithBus () {
  const calls: string[] = []
  const joined = Promise.resolve('ok' as const)
  const topics = new Topics({
    join (topic) {
      calls.push(`join ${topic}`)
      return joined
    },
    leave (topic) { calls.push(`leave ${topic}`) }
  })
  return { topics, calls, joined }
}

t.test('subscribe() joins the topic on the bus each time, and gives back its promise', (t) => {
  const { topics, calls, joined } = newTopicsWithBus()
  const [a, ended] = [newSubscriber(), newSubscriber()]
  ended.isClosed = true
  t.equal(topics.subscribe(a, 'x'), joined)
  t.equal(topics.subscribe(a, 'x'), joined)
  t.equal(topics.subscribe(newSubscriber(), 'x/+', { wildcards: true }), joined)
  topics.subscribe(ended, 'y')
  t.throws(() => topics.subscribe(a, '#'), { code: 'FST_WSA_INVALID_ARGUMENT' })
  t.same(calls, ['join x', 'join x', 'join x/+'])
  t.end()
})

t.test('a subscription counts at once, before the bus has confirmed it', async (t) => {
  const topics = new Topics({ join: () => new Promise(() => {}), leave () {} })
  topics.subscribe(newSubscriber(), 'x')
  t.same(topics.deliver('x', 'data'), { delivered: 1, dropped: 0 })
})

t.test('the bus leaves a topic when its last subscriber unsubscribes or leaves', (t) => {
  const { topics, calls } = newTopicsWithBus()
  const [a, b] = [newSubscriber(), newSubscriber()]
  for (const topic of ['x', 'y']) topics.subscribe(a, topic)
  topics.subscribe(b, 'x')
  calls.length = 0
  topics.unsubscribe(a, 'x')
  topics.unsubscribe(a, 'x')
  t.same(calls.splice(0), [])
  topics.leave(a)
  topics.leave(a)
  t.same(calls.splice(0), ['leave y'])
  topics.unsubscribe(b, 'x')
  t.same(calls, ['leave x'])
  t.equal(topics.size, 0)
  t.same([a.topics, b.topics], [undefined, undefined])
  t.end()
})

t.test('a publication is framed from the data as it was when deliver() was called', (t) => {
  const topics = new Topics(null)
  const subscriber = newSubscriber()
  topics.subscribe(subscriber, 'x')
  const bytes = Buffer.from('data')
  topics.deliver('x', bytes)
  bytes.fill(0)
  t.same(subscriber.got, [Buffer.from('data')])
  t.end()
})

t.test('nothing is left after 100,000 subscribers have come and gone', (t) => {
  const topics = new Topics(null)
  const stays = newSubscriber()
  topics.subscribe(stays, 'stays')
  for (let i = 0; i < 100_000; i++) {
    const subscriber = newSubscriber()
    topics.subscribe(subscriber, 'stays')
    topics.subscribe(subscriber, `room/${i}`)
    topics.subscribe(subscriber, `room/${i}/#`, { wildcards: true })
    if (i % 2 === 0) topics.leave(subscriber)
    else for (const topic of ['stays', `room/${i}`, `room/${i}/#`]) topics.unsubscribe(subscriber, topic)
    if (subscriber.topics !== undefined) return t.fail('a subscriber that has left keeps topics')
  }
  t.equal(topics.size, 1)
  t.same(topics.deliver('stays', 'x'), { delivered: 1, dropped: 0 })
  t.same(topics.deliver('room/7', 'x'), { delivered: 0, dropped: 0 })
  t.end()
})

t.test('malformed topics are refused, and wildcards without { wildcards: true }', (t) => {
  const topics = new Topics(null)
  const subscriber = newSubscriber()
  const refused = (name: string, call: () => void) => t.throws(call, { code: 'FST_WSA_INVALID_ARGUMENT' }, name)
  for (const topic of ['', 42, null, undefined] as string[]) {
    refused(`subscribe ${topic}`, () => topics.subscribe(subscriber, topic))
    refused(`unsubscribe ${topic}`, () => topics.unsubscribe(subscriber, topic))
  }
  for (const topic of ['#', '+', 'room/+', 'a#b']) {
    refused(`subscribe ${topic}`, () => topics.subscribe(subscriber, topic))
  }
  for (const topic of ['a+', 'room/#1', '++']) refused(`subscribe ${topic}`, () => topics.subscribe(subscriber, topic, { wildcards: true }))
  refused('options', () => topics.subscribe(subscriber, 'x', null as never))
  t.equal(topics.size, 0)
  t.end()
})

const wildcards: [pattern: string, topic: string, isMatch: boolean][] = [
  ['a/b', 'a/b', true], ['a/b', 'a', false], ['a', 'a/b', false],
  ['+', 'a', true], ['+', 'a/b', false], ['a/+', 'a/b', true], ['a/+', 'a', false], ['a/+', 'a/', true], ['a/+/c', 'a/b/c', true], ['+/+', 'a/b', true],
  ['#', 'a', true], ['#', 'a/b/c', true], ['a/#', 'a', true], ['a/#', 'a/b/c', true], ['a/#', 'b/a', false],
  ['#/c', 'a/b/c', true], ['#/c', 'c', true], ['#/c', 'a/b', false], ['a/#/c', 'a/c', true], ['a/#/c', 'a/b/b/c', true], ['a/#/c', 'a/c/b', false], ['a/#/c', 'a/c/b/c', true],
  ['#/#', 'a', true], ['#/+', 'a', true], ['+/#/+', 'a', false], ['+/#/+', 'a/b', true], ['#/b/#/d', 'a/b/c/d', true], ['#/b/#/d', 'b/c', false]
]

t.test('+ matches one level, # any number', (t) => {
  for (const [pattern, topic, isMatch] of wildcards) {
    const topics = new Topics(null)
    topics.subscribe(newSubscriber(), pattern, { wildcards: true })
    t.equal(topics.deliver(topic, 'x').delivered, isMatch ? 1 : 0, `${pattern} and ${topic}`)
  }
  t.end()
})

t.test('wildcards match as the equivalent regular expression does', (t) => {
  const levels = (...choice: string[]) => fc.array(fc.constantFrom(...choice), { minLength: 1, maxLength: 6 })
  fc.assert(fc.property(levels('a', 'b', '+', '#'), levels('a', 'b'), (pattern, topic) => {
    fc.pre(pattern.filter((level) => level === '#').length <= 3)
    const topics = new Topics(null)
    topics.subscribe(newSubscriber(), pattern.join('/'), { wildcards: true })
    const expression = new RegExp(`^${pattern.map((level) => level === '#' ? '(?:\\w+/)*' : level === '+' ? '\\w+/' : `${level}/`).join('')}$`)
    return (topics.deliver(topic.join('/'), 'x').delivered === 1) === expression.test(`${topic.join('/')}/`)
  }), { numRuns: 5000 })
  t.pass('no counterexample')
  t.end()
})

t.test('topics are limited to 1,024 characters, 64 levels, three # and well-formed text', (t) => {
  const topics = new Topics(null)
  const refused = ['a'.repeat(1025), 'a/'.repeat(64), '#/#/#/#', 'room/\ud83d']
  for (const topic of refused) {
    t.throws(() => topics.subscribe(newSubscriber(), topic, { wildcards: true }), { code: 'FST_WSA_INVALID_ARGUMENT' }, topic.slice(0, 10))
  }
  for (const topic of ['a'.repeat(1024), 'a' + '/a'.repeat(63), '#/#/#', 'room/😀']) topics.subscribe(newSubscriber(), topic, { wildcards: true })
  t.equal(topics.size, 4)
  t.end()
})

t.test('a subscriber with several matching topics gets a publication once', (t) => {
  const topics = new Topics(null)
  const subscriber = newSubscriber()
  for (const topic of ['a/b', 'a/+', '#']) topics.subscribe(subscriber, topic, { wildcards: true })
  t.same(topics.deliver('a/b', 'x'), { delivered: 1, dropped: 0 })
  topics.unsubscribe(subscriber, 'a/+')
  topics.unsubscribe(subscriber, '#')
  t.same(topics.deliver('a/c', 'x'), { delivered: 0, dropped: 0 })
  t.same(subscriber.got, ['x'])
  t.end()
})

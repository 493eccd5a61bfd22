import fc from 'fast-check'
import t from 'tap'
import type { Publication } from '../../lib/send/frame.js'
import { Topics, type Subscriber } from '../../lib/topics/topics.js'

/** A subscriber that keeps what it gets. */
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

t.test('a subscriber gets what is published on its topics, once each, until it unsubscribes', (t) => {
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

t.test('one can be left out, those too slow are counted, those that have ended are not', (t) => {
  const topics = new Topics(null)
  const [a, b, slow, ended] = [newSubscriber(), newSubscriber(), newSubscriber(), newSubscriber()]
  for (const each of [a, b, slow, ended]) topics.subscribe(each, 'x')
  slow.isSlow = ended.isClosed = true
  t.same(topics.deliver('x', 'data', a), { delivered: 1, dropped: 1 })
  t.same([a.got, b.got, ended.got], [[], ['data'], []])
  topics.subscribe(ended, 'y')
  t.same(topics.deliver('y', 'data'), { delivered: 0, dropped: 0 }, 'what has ended cannot subscribe')
  t.equal(topics.size, 1)
  t.end()
})

t.test('subscribing and leaving 100,000 times leaves nothing', (t) => {
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

t.test('bad topics are refused, wildcards where they were not asked for', (t) => {
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

t.test('wildcards stand for levels', (t) => {
  for (const [pattern, topic, isMatch] of wildcards) {
    const topics = new Topics(null)
    topics.subscribe(newSubscriber(), pattern, { wildcards: true })
    t.equal(topics.deliver(topic, 'x').delivered, isMatch ? 1 : 0, `${pattern} and ${topic}`)
  }
  t.end()
})

t.test('wildcards match as a regular expression of them does', (t) => {
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

t.test('a topic is kept within what brokers and emitters hold', (t) => {
  const topics = new Topics(null)
  const refused = ['a'.repeat(1025), 'a/'.repeat(64), '#/#/#/#', 'room/\ud83d']
  for (const topic of refused) {
    t.throws(() => topics.subscribe(newSubscriber(), topic, { wildcards: true }), { code: 'FST_WSA_INVALID_ARGUMENT' }, topic.slice(0, 10))
  }
  for (const topic of ['a'.repeat(1024), 'a' + '/a'.repeat(63), '#/#/#', 'room/😀']) topics.subscribe(newSubscriber(), topic, { wildcards: true })
  t.equal(topics.size, 4)
  t.end()
})

t.test('whoever has several matching topics gets a message once', (t) => {
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

import { EventEmitter } from 'node:events'
import Fastify from 'fastify'
import t from 'tap'
import { WebSocketCollection, type CollectionSettings } from '../../lib/app/collection.js'
import { Lifecycle } from '../../lib/app/lifecycle.js'
import { diagnostics } from '../../lib/base/diagnostics.js'
import type { CloseInfo } from '../../lib/base/close.js'
import { AsyncWebSocket } from '../../lib/connection/async-web-socket.js'
import type { Traffic } from '../../lib/connection/connection-parts.js'
import type { Publication } from '../../lib/send/frame.js'
import { captureLog, messagesOf } from '../fixtures/log.js'
import { ManualEmitter } from '../topics/manual-emitter.js'

const SETTINGS: CollectionSettings = { keepAlive: null, pubsub: null, sendLimits: { maxBufferedBytes: 1000 } }

const CLOSE_INFO: CloseInfo = { code: 1000, reason: '', wasClean: true, cause: 'peer', unread: 0, unsent: 0 }

const TRAFFIC: Traffic = { received: { messages: 1, bytes: 2 }, sent: { messages: 3, bytes: 4, dropped: 5 } }

const turn = () => new Promise(setImmediate)

/** A collection, its log, and connections that only note what is done to them. */
function newCollection (settings: Partial<CollectionSettings> = {}) {
  const { lines, logger } = captureLog()
  const { log } = Fastify({ logger })
  const lifecycle = new Lifecycle()
  const collection = new WebSocketCollection({ ...SETTINGS, ...settings }, lifecycle, log)
  const notes: string[] = []
  const connect = (name: string, identifier: string | null = null): AsyncWebSocket => {
    const connection: AsyncWebSocket = Object.create(AsyncWebSocket.prototype, {
      isClosed: { value: false, writable: true },
      topics: { value: undefined, writable: true },
      identifier: { value: identifier },
      openedAt: { value: performance.now() - 100 },
      request: { value: { log: log.child({ reqId: name }) } },
      closeAsReplaced: { value: () => notes.push(`replace ${name}`) },
      deliver: { value: ({ data }: Publication) => notes.push(`deliver ${data} to ${name}`) > 0 },
      closeAsync: {
        async value (code?: number, reason?: string) {
          notes.push(`close ${name} ${code} ${reason}`)
          return { ...CLOSE_INFO, reason: name }
        }
      }
    })
    collection.add(connection)
    return connection
  }
  const end = (connection: AsyncWebSocket, info = CLOSE_INFO) => {
    Object.assign(connection, { isClosed: true })
    collection.delete(connection, info, TRAFFIC)
  }
  return { collection, lifecycle, lines, notes, connect, end }
}

t.test('the collection has the connections from add() to delete(), in order', async (t) => {
  const { collection, lifecycle, connect, end } = newCollection()
  const [a, b, c] = [connect('a'), connect('b'), connect('c')]
  end(b)
  t.strictSame([...collection], [a, c])
  t.equal(collection.size, 2)
  t.strictSame([...lifecycle.connections], [a, c])
  t.equal(collection.find((connection) => connection !== a), c)
  t.equal(collection.find(() => false), undefined)
})

t.test('connections may open and end during an iteration', async (t) => {
  const { collection, connect, end } = newCollection()
  const [a, b] = [connect('a'), connect('b')]
  const seen: AsyncWebSocket[] = []
  let late: AsyncWebSocket | undefined
  for (const connection of collection) {
    seen.push(connection)
    if (connection === a) end(b)
    late ??= connect('late')
  }
  t.strictSame(seen, [a, late])
})

t.test('get() finds the open connection with the identifier', async (t) => {
  const { collection, connect, end } = newCollection()
  const [a] = [connect('a', 'user 1'), connect('b', 'user 2'), connect('c')]
  t.equal(collection.get('user 1'), a)
  t.equal(collection.get('user 3'), undefined)
  Object.assign(a, { isClosed: true })
  t.equal(collection.get('user 1'), undefined, 'a closing connection is not found')
  t.equal(collection.size, 3, 'though it is still there')
  end(a)
  t.equal(collection.get('user 1'), undefined)
})

t.test('a connection with an identifier in use replaces the older one, whose end does not remove the new one', async (t) => {
  const { collection, notes, connect, end } = newCollection()
  const older = connect('older', 'user')
  const newer = connect('newer', 'user')
  t.same(notes, ['replace older'])
  t.equal(collection.get('user'), newer)
  end(older)
  t.equal(collection.get('user'), newer)
})

t.test('closeAllAsync() closes each connection, and resolves to how each ended', async (t) => {
  const { collection, notes, connect } = newCollection()
  for (const name of ['a', 'b']) connect(name)
  const ended = collection.closeAllAsync(4000, 'bye')
  connect('late')
  t.same((await ended).map(({ reason }) => reason), ['a', 'b'])
  t.same(notes.splice(0), ['close a 4000 bye', 'close b 4000 bye'])
  await t.rejects(collection.closeAllAsync(1005), { code: 'FST_WSA_INVALID_CLOSE' })
  t.same(notes, [])
  t.same(await newCollection().collection.closeAllAsync(), [])
})

t.test("'open' and 'close' are emitted with the connection, and with how it ended", async (t) => {
  const { collection, connect, end } = newCollection()
  const events: unknown[][] = []
  collection.on('open', (...args) => events.push(['open', collection.size, ...args]))
  collection.on('close', (...args) => events.push(['close', collection.size, ...args]))
  const connection = connect('a')
  end(connection)
  t.same(events.map(([name, size]) => [name, size]), [['open', 1], ['close', 0]])
  t.equal(events[0]?.[2], connection)
  t.equal(events[1]?.[2], connection)
  t.equal(events[1]?.[3], CLOSE_INFO)
})

t.test('a listener that throws or rejects is logged, and the other listeners are called', async (t) => {
  const { collection, lines, connect } = newCollection()
  let calls = 0
  collection.on('open', () => { throw new Error('thrown') })
  collection.on('open', async () => { throw new Error('rejected') })
  collection.on('open', () => { calls++ })
  collection.once('open', () => { calls++ })
  connect('a')
  t.equal(calls, 2)
  await turn()
  connect('b')
  t.equal(calls, 3, 'a listener for once is called once')
  await turn()
  t.same(messagesOf(lines), Array(4).fill("listener of webSockets for 'open' failed"))
  t.match(lines, ['thrown', 'rejected', 'thrown', 'rejected'].map((message) => ({ level: 50, err: { message } })))
  t.same(lines.map(({ reqId }) => reqId), ['a', 'a', 'b', 'b'])
})

t.test('the end of a connection is one log line with the code, the cause, the duration and the traffic', async (t) => {
  const { lines, connect, end } = newCollection()
  end(connect('a'))
  const error = new Error('ECONNRESET')
  end(connect('b'), { ...CLOSE_INFO, code: 1006, cause: 'connection-lost', error })
  t.match(lines, [
    { level: 30, msg: 'websocket closed', reqId: 'a', code: 1000, cause: 'peer', ...TRAFFIC },
    { level: 30, msg: 'websocket closed', reqId: 'b', code: 1006, cause: 'connection-lost', ...TRAFFIC, err: { message: 'ECONNRESET' } }
  ])
  t.equal(lines.length, 2)
  t.notOk('err' in lines[0]!)
  t.ok(Number.isInteger(lines[0]?.duration) && lines[0]?.duration as number >= 100)
})

t.test('diagnostics channels get what opens, closes and is dropped', async (t) => {
  const { collection, connect, end } = newCollection()
  const published: unknown[] = []
  for (const name of ['open', 'close', 'dropped'] as const) {
    const subscriber = (message: unknown) => published.push([name, message])
    diagnostics[name].subscribe(subscriber)
    t.teardown(() => { diagnostics[name].unsubscribe(subscriber) })
  }
  const connection = connect('a')
  collection.dropped(connection, 'in', 'closing', 42)
  end(connection)
  t.same(published, [
    ['open', { connection }],
    ['dropped', { connection, direction: 'in', reason: 'closing', bytes: 42 }],
    ['close', { connection, closeInfo: CLOSE_INFO }]
  ])
})

t.test('publishAsync() delivers to the subscribers except one, and the bus is ok without pubsub', async (t) => {
  const { collection, notes, connect, end } = newCollection()
  const [a, b, gone] = [connect('a'), connect('b'), connect('gone')]
  for (const connection of [a, b, gone]) collection.topics.subscribe(connection, 'room')
  end(gone)
  t.same(await collection.publishAsync('room', 'data'), { delivered: 2, dropped: 0, bus: 'ok' })
  t.same(await collection.publishAsync('room', 'more', { except: a }), { delivered: 1, dropped: 0, bus: 'ok' })
  t.same(notes, ['deliver data to a', 'deliver data to b', 'deliver more to b'])
})

t.test('publishAsync() refuses malformed topics, data and options, and delivers nothing', async (t) => {
  const { collection, notes, connect } = newCollection()
  const connection = connect('a')
  collection.topics.subscribe(connection, 'room')
  const calls: [topic: unknown, data: unknown, options?: unknown][] = [
    ['', 'x'], ['#', 'x'], [1, 'x'], ['room', 1], ['room', 'x', null], ['room', 'x', connection], ['room', 'x', { except: {} }], ['room', 'x', { expect: connection }]
  ]
  for (const call of calls) await t.rejects(collection.publishAsync(...call as Parameters<typeof collection.publishAsync>), { code: 'FST_WSA_INVALID_ARGUMENT' })
  t.same(notes, [])
})

t.test('with pubsub, publishAsync() delivers here at once and resolves when the broker confirms', async (t) => {
  const emitter = new ManualEmitter()
  const { collection, notes, connect } = newCollection({ pubsub: emitter })
  t.teardown(() => collection.bus?.close())
  collection.topics.subscribe(connect('a'), 'room')
  emitter.next('on').answer()
  const published = collection.publishAsync('room', 'data')
  t.same(notes, ['deliver data to a'])
  emitter.next('emit').answer(new Error('NOPERM'))
  t.match(await published, { delivered: 1, dropped: 0, bus: { code: 'FST_WSA_BUS_LOST' } })
})

t.test("what other nodes publish is delivered, and gaps are logged and emitted as 'gap'", async (t) => {
  const emitter = new ManualEmitter()
  const { collection, lines, notes, connect } = newCollection({ pubsub: emitter })
  t.teardown(() => collection.bus?.close())
  const gaps: unknown[] = []
  collection.on('gap', (gap) => gaps.push(gap))
  collection.topics.subscribe(connect('a'), 'room')
  emitter.next('on').answer()
  for (const count of [1, 4]) emitter.arrive('room', { node: 'other', sequence: count, count, text: `text ${count}` })
  t.same(notes, ['deliver text 1 to a', 'deliver text 4 to a'])
  t.same(gaps, [{ topic: 'room', missed: 2 }])
  t.match(lines, [{ level: 40, msg: 'websocket publications missed', topic: 'room', missed: 2 }])
})

t.test('the collection is an EventEmitter without listeners of its own', async (t) => {
  const { collection } = newCollection()
  t.type(collection, EventEmitter)
  t.same(collection.eventNames(), [])
})

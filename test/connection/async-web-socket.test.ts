import t from 'tap'
import type { CancelOptions } from '../../lib/base/validation.js'
import { AsyncWebSocket } from '../../lib/connection/async-web-socket.js'
import type { ConnectionOwner } from '../../lib/connection/connection-parts.js'
import type { LiveConnection } from '../../lib/connection/live-connection.js'
import { fakeClock } from '../fixtures/fake-clock.js'
import { fakeConnection, type Situation } from '../fixtures/fake-connection.js'

const turn = () => new Promise((resolve) => { setImmediate(resolve) })

function awaitedConnection (situation?: Situation): ReturnType<typeof fakeConnection> {
  const fake = fakeConnection(situation)
  fake.connection.startReceiving()
  return fake
}

/** Topics that note what they are asked for, and refuse the topic 'bad'. */
function fakeTopics () {
  const notes: unknown[][] = []
  const note = (...args: unknown[]) => {
    if (args[2] === 'bad') throw Object.assign(new Error('bad topic'), { code: 'FST_WSA_INVALID_ARGUMENT' })
    notes.push(args)
  }
  const topics = {
    subscribe (...args: unknown[]) {
      note('subscribe', ...args)
      return Promise.resolve('ok')
    },
    unsubscribe (...args: unknown[]) { note('unsubscribe', ...args) }
  }
  return { notes, topics: topics as unknown as ConnectionOwner<LiveConnection>['topics'] } // nothing else of them is used
}

t.test('data is an empty object until the application sets it', async (t) => {
  const { connection } = fakeConnection()
  const { data } = connection
  t.same(data, {})
  t.equal(connection.data, data)
  connection.data = { name: 'alice' } as typeof data
  t.same(connection.data, { name: 'alice' })
})

t.test('the connection shows what it is made of', async (t) => {
  const { connection, socket } = fakeConnection({ identifier: 'alice' })
  socket.protocol = 'chat'
  t.match(connection, { identifier: 'alice', subprotocol: 'chat', latency: null, closeInfo: null, isClosed: false, hasEnded: false })
  t.equal(connection.socket, socket)
  t.equal(connection.pingPolicy, connection.pingPolicy)
  t.equal(connection.closed, connection.closed)
  t.equal(connection.signal, connection.signal)
})

t.test('isClosed is true as soon as the socket is not open, although nothing was heard of it yet', async (t) => {
  const { connection, socket } = fakeConnection()
  socket.readyState = socket.CLOSED
  t.equal(connection.isClosed, true)
  t.equal(await connection.sendAsync('late'), false)
})

t.test('bufferedBytes counts what waits for its turn and for the network', async (t) => {
  const { connection, socket } = fakeConnection()
  t.equal(connection.bufferedBytes, 0)
  socket.isBatching = true
  connection.sendAsync('gathered')
  socket.bufferedAmount = 5
  t.equal(connection.bufferedBytes, 5 + 2 + 8, 'with the header of the frame')
})

/** Each way to receive, as it gives the text of a message. */
const RECEIVES: [name: string, receive: (connection: AsyncWebSocket) => Promise<string | undefined>][] = [
  ['receiveMessageAsync()', async (connection) => (await connection.receiveMessageAsync())?.getString()],
  ['tryReceive()', async (connection) => connection.tryReceive()?.getString()],
  ['iteration', async (connection) => (await connection[Symbol.asyncIterator]().next()).value?.getString()]
]

for (const [name, receive] of RECEIVES) {
  t.test(`${name} gives messages in order, also after the end, and then nothing`, async (t) => {
    const { connection, peer } = awaitedConnection()
    peer.send('a', 'b')
    t.equal(await receive(connection), 'a')
    peer.end()
    t.equal(connection.hasEnded, false)
    t.equal(await receive(connection), 'b')
    t.equal(connection.hasEnded, true)
    t.equal(await receive(connection), undefined)
  })

  t.test(`${name} shows that the handler receives: listeners that come later get no message that waits`, async (t) => {
    const { connection, socket, peer } = awaitedConnection()
    peer.send('first', 'second')
    await receive(connection)
    const heard: string[] = []
    socket.on('message', (data) => heard.push(String(data)))
    await turn()
    t.same(heard, [])
    connection.drain()
    t.equal(connection.isClosed, false, 'and the app waits for it when it closes')
  })
}

t.test('a loop may be left and another one goes on', async (t) => {
  const { connection, peer } = awaitedConnection()
  peer.send('a', 'b', 'c')
  const received: string[] = []
  for await (const message of connection) if (received.push(message.getString()) === 2) break
  t.equal(connection.isClosed, false)
  peer.end()
  for await (const message of connection) received.push(message.getString())
  t.same(received, ['a', 'b', 'c'])
})

t.test('an iterator that was not asked for a message does not receive', async (t) => {
  const { connection, peer } = awaitedConnection()
  peer.send('waits')
  const iterator = connection[Symbol.asyncIterator]()
  t.equal(connection._reader, 'awaited')
  t.match(await iterator.next(), { done: false, value: { isBinary: false, length: 5, sender: connection } })
  t.equal(connection._reader, 'receiving')
})

t.test('receiveMessageAsync() waits as long as the call says, else as long as the settings say', async (t) => {
  const clock = fakeClock(t)
  const { connection } = awaitedConnection({ settings: { receiveTimeout: 100 } })
  const controller = new AbortController()
  const calls: [options: CancelOptions | undefined, end: (() => void) | number][] = [
    [undefined, 100],
    [{}, 100],
    [{ timeout: undefined }, 100],
    [{ timeout: 30 }, 30],
    [{ timeout: Infinity, signal: controller.signal }, () => controller.abort()]
  ]
  for (const [options, end] of calls) {
    let result: unknown
    connection.receiveMessageAsync(options).then((message) => { result = message })
    await clock.tickAsync(typeof end === 'number' ? end - 1 : 1000)
    t.equal(result, undefined)
    if (typeof end === 'number') await clock.tickAsync(1)
    else end()
    await turn()
    t.equal(result, null)
  }
  t.equal(connection.isClosed, false)
})

t.test('sendAsync() sends a string as text and bytes as binary, each with its compression', async (t) => {
  for (const isCompressed of [false, true]) {
    const { connection, log } = awaitedConnection({ isCompressed })
    t.equal(await connection.sendAsync('text'), true)
    t.equal(await connection.sendAsync(new Uint16Array([0x0201, 0x0403]), { compress: false }), true)
    await turn() // until what was gathered is written
    const bytes = Buffer.from([1, 2, 3, 4])
    t.match(log, isCompressed
      ? [['send', 'text', { binary: false, compress: true }], ['send', bytes, { binary: true, compress: false }]]
      : [['write', 'text'], ['write', bytes]])
  }
})

t.test('sendAsync() resolves to false, and sends nothing, where the message is not taken', async (t) => {
  const situations: [when: string, send: (fake: ReturnType<typeof fakeConnection>) => Promise<boolean>][] = [
    ['the signal has aborted', ({ connection }) => connection.sendAsync('late', { signal: AbortSignal.abort() })],
    ['the connection is closing', ({ connection }) => {
      connection.closeAsync()
      return connection.sendAsync('late')
    }],
    ['the connection has ended', ({ connection, peer }) => {
      peer.end()
      return connection.sendAsync('late')
    }],
    ['too much is unsent', ({ connection, socket }) => {
      socket.bufferedAmount = 16 * 1024 * 1024
      return connection.sendAsync('late')
    }]
  ]
  for (const [when, send] of situations) {
    const fake = awaitedConnection({ settings: { slowConsumer: 'drop' } })
    t.equal(await send(fake), false, when)
    t.notOk(fake.log.some(([name]) => name === 'write'), when)
  }
})

t.test('closeAsync() sends the close frame of its first call, and resolves to how the connection ended', async (t) => {
  const calls: [args: Parameters<AsyncWebSocket['closeAsync']>, isClosing: boolean, code: number, reason: string][] = [
    [[], false, 1000, ''],
    [[4000], false, 4000, ''],
    [[4000, 'mine'], false, 4000, 'mine'],
    [[undefined, 'mine'], false, 1000, 'mine'],
    [[], true, 1001, 'server shutting down'],
    [[4000, 'mine'], true, 4000, 'mine']
  ]
  for (const [args, isClosing, code, reason] of calls) {
    const { connection, log, peer } = awaitedConnection({ isClosing })
    const closed = [connection.closeAsync(...args), connection.closeAsync(4999, 'second')]
    t.same(log, [['close', code, reason]])
    peer.end(code, reason)
    for (const info of await Promise.all(closed)) t.equal(info, connection.closeInfo)
    t.match(connection.closeInfo, { code, reason, cause: isClosing ? 'shutdown' : 'local', wasClean: true })
    t.equal(await connection.closeAsync(), connection.closeInfo, 'also after the end')
  }
})

t.test('terminate() drops the TCP connection', async (t) => {
  const { connection, log, peer } = awaitedConnection()
  connection.terminate()
  t.same(log, [['terminate']])
  t.equal(connection.isClosed, true)
  peer.end()
  t.match(await connection.closed, { code: 1006, cause: 'terminated' })
})

t.test('await using closes with 1000 in a later turn, so that an error that leaves the handler chooses the code', async (t) => {
  const { connection, log } = awaitedConnection()
  {
    await using disposed = connection
    t.equal(disposed.isClosed, false)
  }
  t.same(log, [])
  await turn()
  t.same(log, [['close', 1000, '']])

  const failed = awaitedConnection()
  await failed.connection[Symbol.asyncDispose]()
  failed.connection.closeWith(1011, '', 'handler-failed')
  await turn()
  t.same(failed.log, [['close', 1011, '']])
})

t.test('pingAsync() resolves to the round trip, or to null after its timeout, by default 20 seconds, and at the end', async (t) => {
  const clock = fakeClock(t)
  const { connection, socket, log, peer } = awaitedConnection()
  const answered = connection.pingAsync()
  clock.tick(7)
  socket.emit('pong', Buffer.from(log[0]?.[1] as string))
  t.equal(await answered, 7)
  t.equal(connection.latency, 7)
  const results: unknown[] = []
  for (const options of [undefined, { timeout: undefined }, { timeout: 500 }, { timeout: Infinity }]) {
    connection.pingAsync(options).then((latency) => results.push(latency))
  }
  await clock.tickAsync(500)
  t.same(results, [null])
  await clock.tickAsync(19_499)
  t.same(results, [null])
  await clock.tickAsync(1)
  t.same(results, [null, null, null])
  peer.end()
  await turn()
  t.same(results, [null, null, null, null])
  log.length = 0
  t.equal(await connection.pingAsync(), null)
  t.same(log, [], 'a connection that has ended sends no ping')
})

t.test('subscribeAsync() and unsubscribeAsync() go to the topics of the app', async (t) => {
  const { topics, notes } = fakeTopics()
  const { connection } = awaitedConnection({ owner: { topics } })
  t.same(await connection.subscribeAsync('room/+', { wildcards: true }), { bus: 'ok' })
  t.equal(await connection.unsubscribeAsync('room/+'), undefined)
  t.same(notes.map(([name, subscriber, ...args]) => [name, subscriber === connection, ...args]), [
    ['subscribe', true, 'room/+', { wildcards: true }],
    ['unsubscribe', true, 'room/+']
  ])
})

type Call = (connection: AsyncWebSocket) => Promise<unknown>

/** Calls that are the caller's mistake. */
const REFUSED: [name: string, call: Call, code?: string][] = [
  ['receiveMessageAsync(5000)', (ws) => ws.receiveMessageAsync(5000 as never)],
  ['receiveMessageAsync(null)', (ws) => ws.receiveMessageAsync(null as never)],
  ['receiveMessageAsync({ timeout: -1 })', (ws) => ws.receiveMessageAsync({ timeout: -1 })],
  ['receiveMessageAsync({ timeOut: 5 })', (ws) => ws.receiveMessageAsync({ timeOut: 5 } as never)],
  ['sendAsync(undefined)', (ws) => ws.sendAsync(undefined as never)],
  ["sendAsync('text', { timeout: NaN })", (ws) => ws.sendAsync('text', { timeout: NaN })],
  ["sendAsync('text', { binary: true })", (ws) => ws.sendAsync('text', { binary: true } as never)],
  ['pingAsync(null)', (ws) => ws.pingAsync(null as never)],
  ['pingAsync({ timeout: -1 })', (ws) => ws.pingAsync({ timeout: -1 })],
  ['pingAsync({ signal })', (ws) => ws.pingAsync({ signal: AbortSignal.abort() } as never)],
  ["subscribeAsync('bad')", (ws) => ws.subscribeAsync('bad')],
  ["unsubscribeAsync('bad')", (ws) => ws.unsubscribeAsync('bad')],
  ['closeAsync(1005)', (ws) => ws.closeAsync(1005), 'FST_WSA_INVALID_CLOSE'],
  ['closeAsync(1000, 124 bytes)', (ws) => ws.closeAsync(1000, 'x'.repeat(124)), 'FST_WSA_INVALID_CLOSE']
]

for (const [name, call, code = 'FST_WSA_INVALID_ARGUMENT'] of REFUSED) {
  t.test(`${name} is refused before anything changes`, async (t) => {
    const { connection, log, errors, peer } = awaitedConnection({ owner: { topics: fakeTopics().topics } })
    peer.send('waits')
    await t.rejects(call(connection), { code })
    t.same(log, [])
    t.same([connection.isClosed, connection._queue.length, connection._reader], [false, 1, 'awaited'])
    await turn()
    t.same(errors, [], 'a call that is awaited is not logged')
    call(connection)
    await turn()
    t.match(errors, [{ code }], 'one that nobody awaits is logged, and does not end the process')
  })
}

t.test('a client has no topics and no logger: its calls are refused with an ordinary rejection', async (t) => {
  const { connection, errors } = awaitedConnection({ isClient: true })
  const calls: Call[] = [(ws) => ws.subscribeAsync('room'), (ws) => ws.unsubscribeAsync('room'), (ws) => ws.sendAsync(5 as never)]
  for (const call of calls) {
    const refused = call(connection)
    t.equal(refused.constructor, Promise)
    await t.rejects(refused, { code: 'FST_WSA_INVALID_ARGUMENT' })
  }
  await t.rejects(connection.subscribeAsync('room'), { message: /a client subscribes to nothing/ })
  t.same(errors, [])
})

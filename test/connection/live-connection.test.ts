import t from 'tap'
import type { CloseInfo } from '../../lib/base/close.js'
import type { LiveConnection } from '../../lib/connection/live-connection.js'
import { TimerWheel } from '../../lib/connection/timer-wheel.js'
import { Publication } from '../../lib/send/frame.js'
import { fakeClock } from '../fixtures/fake-clock.js'
import { fakeConnection, type Situation } from '../fixtures/fake-connection.js'
import { frame } from '../fixtures/frames.js'

type Fake = ReturnType<typeof fakeConnection>

const turn = () => new Promise((resolve) => { setImmediate(resolve) })

/** A connection of a handler that awaits messages. */
function awaitedConnection (situation?: Situation): Fake {
  const fake = fakeConnection(situation)
  fake.connection.startReceiving()
  return fake
}

/** A read comes in with these messages, strings as text. */
function read ({ transport }: Fake, ...messages: (string | Buffer)[]): void {
  transport.emit('data', Buffer.concat(messages.map((message) => frame(message, { opcode: typeof message === 'string' ? 1 : 2 }))))
}

const NO_MESSAGES = { messages: 0, bytes: 0 }
const TINY = { messages: 1, bytes: 1024 * 1024 }
const TINY_LIMITS = { highWater: TINY, probeHighWater: TINY, hardCap: { messages: 2, bytes: 1024 * 1024 } }
/** Every send waits until the network has taken the one before. */
const ONE_AT_A_TIME = { highWaterMark: 1, maxBufferedBytes: 1024 * 1024 }
const FULL = { highWaterMark: 1, maxBufferedBytes: 1 }
const BROKEN = new Error('invalid frame')
const RESET = new Error('read ECONNRESET')

interface End {
  readonly when: string
  readonly situation?: Situation
  /** After this the connection is not open any more. */
  readonly leave: (fake: Fake) => void
  /** The code and the reason of the peer's close frame, if one came. */
  readonly fromPeer?: [code?: number, reason?: string]
  readonly expected: Partial<CloseInfo>
  readonly calls: unknown[][]
}

const LATE_MESSAGES = { settings: { server: { closeTimeout: 10_000, maxPayload: 1024, allowSynchronousEvents: false } } }

const ENDS: End[] = [
  {
    when: 'the peer closes',
    leave: ({ peer }) => peer.close(4001, 'bye'),
    fromPeer: [4001, 'bye'],
    expected: { code: 4001, reason: 'bye', wasClean: true, cause: 'peer' },
    calls: [['close', 4001, 'bye']]
  },
  {
    when: 'the peer closes without a code',
    leave: ({ peer }) => peer.close(),
    fromPeer: [1005, ''],
    expected: { code: 1005, reason: '', wasClean: true, cause: 'peer' },
    calls: [['close', undefined, undefined]]
  },
  {
    when: 'the application closes the socket of ws',
    leave: ({ socket }) => socket.close(4000, 'mine'),
    fromPeer: [4000, 'mine'],
    expected: { code: 4000, reason: 'mine', wasClean: true, cause: 'local' },
    calls: [['close', 4000, 'mine']]
  },
  {
    when: 'the application closes the socket of ws, and the peer does not answer',
    leave: ({ socket }) => socket.close(4000, 'mine'),
    expected: { code: 4000, reason: 'mine', wasClean: false, cause: 'local' },
    calls: [['close', 4000, 'mine']]
  },
  {
    when: 'the application closes the connection',
    leave: ({ connection }) => connection.closeWith(4000, 'mine', 'local'),
    fromPeer: [4002, 'theirs'],
    expected: { code: 4002, reason: 'theirs', wasClean: true, cause: 'local' },
    calls: [['close', 4000, 'mine']]
  },
  {
    when: 'the handler has returned',
    leave: ({ connection }) => connection.closeWith(undefined, undefined, 'handler-returned'),
    expected: { code: 1000, reason: '', wasClean: false, cause: 'handler-returned' },
    calls: [['close', 1000, '']]
  },
  {
    when: 'another connection has its identifier',
    leave: ({ connection }) => connection.closeAsReplaced(),
    expected: { code: 4409, reason: 'replaced', cause: 'replaced' },
    calls: [['close', 4409, 'replaced']]
  },
  {
    when: 'the app closes',
    situation: { isClosing: true },
    leave: ({ connection }) => connection.closeForShutdown(),
    expected: { code: 1001, reason: 'server shutting down', cause: 'shutdown' },
    calls: [['close', 1001, 'server shutting down']]
  },
  {
    when: 'the application terminates the socket of ws',
    leave: ({ socket }) => socket.terminate(),
    expected: { code: 1006, reason: '', wasClean: false, cause: 'terminated' },
    calls: [['terminate']]
  },
  {
    when: 'the keep-alive terminates it',
    leave: ({ connection }) => connection.terminateWith('keep-alive'),
    expected: { code: 1006, reason: '', wasClean: false, cause: 'keep-alive' },
    calls: [['terminate']]
  },
  {
    when: 'the peer breaks the protocol',
    leave: ({ peer }) => peer.break(1002, BROKEN),
    expected: { code: 1002, wasClean: false, cause: 'protocol-error', error: BROKEN },
    calls: [['close', 1002, undefined]]
  },
  {
    when: 'the peer breaks the protocol after our close',
    leave: ({ connection, peer }) => {
      connection.closeWith(4000, 'mine', 'local')
      peer.break(1002, BROKEN)
    },
    expected: { code: 4000, cause: 'local', error: BROKEN },
    calls: [['close', 4000, 'mine'], ['close', 1002]]
  },
  {
    when: 'the TCP connection is lost',
    leave: ({ socket }) => { socket.readyState = socket.CLOSED },
    expected: { code: 1006, reason: '', wasClean: false, cause: 'connection-lost' },
    calls: []
  },
  {
    when: 'the TCP connection breaks with an error',
    leave: ({ socket, transport }) => {
      transport.on('error', () => {}).destroy(RESET) // ws listens to it too
      socket.readyState = socket.CLOSED
    },
    expected: { code: 1006, cause: 'connection-lost', error: RESET },
    calls: []
  },
  {
    when: 'the peer ends its side without a close frame',
    leave: ({ transport }) => { transport.emit('end') },
    expected: { code: 1006, reason: '', wasClean: false, cause: 'connection-lost' },
    calls: []
  },
  {
    when: 'the peer sends more than a paused connection can hold',
    situation: { settings: { receiveLimits: TINY_LIMITS } },
    leave: ({ peer }) => peer.send('a', 'b', 'too much'),
    expected: { code: 1008, reason: 'too many messages', cause: 'receive-overflow', unread: 3 },
    calls: [['dropped', 'in', 'receive-overflow', 8], ['close', 1008, 'too many messages']]
  },
  {
    when: 'the peer reads too slowly',
    leave: ({ connection }) => { connection.drop('zwölf') },
    expected: { code: 1013, reason: 'too slow', cause: 'slow-consumer' },
    calls: [['dropped', 'out', 'slow-consumer', 6], ['close', 1013, 'too slow']]
  }
]

for (const { when, situation, leave, fromPeer: [code, reason] = [], expected, calls } of ENDS) {
  t.test(`${when}: ${expected.cause}, with ${expected.code}`, async (t) => {
    fakeClock(t)
    const fake = awaitedConnection(situation)
    const { connection, log, peer } = fake
    t.equal(connection.isClosed, false)
    leave(fake)
    t.match(log, calls)
    t.equal(log.length, calls.length)
    t.same([connection.isClosed, connection.closeInfo], [true, null])
    connection.closeWith(4999, 'too late', 'local')
    t.equal(log.length, calls.length, 'a later close changes nothing')
    peer.end(code, reason)
    t.match(connection.closeInfo, expected)
    t.match(log.at(-1), ['delete', connection.closeInfo])
    peer.end(code, reason)
    t.equal(log.filter(([name]) => name === 'delete').length, 1, 'a second close event changes nothing')
  })
}

t.test('the end comes in order: state, timers, waiting calls, the app, closed, signal', async (t) => {
  const clock = fakeClock(t)
  const order: unknown[] = []
  const wheel = new TimerWheel(500, 1)
  const { connection, transport, peer } = awaitedConnection({
    settings: { keepAlive: { interval: 1000, timeout: 500 }, sendLimits: ONE_AT_A_TIME },
    owner: {
      wheel,
      delete (ended, info) {
        order.push(['delete', ended === connection, info === connection.closeInfo])
        t.match(connection, { isClosed: true, hasEnded: true, pingPolicy: { isActive: false }, signal: { aborted: false } })
        t.equal(clock.countTimers(), 0)
      }
    }
  })
  connection.pingPolicy.start()
  t.equal(clock.countTimers(), 2, 'the ping policy and the wheel')
  transport.isStuck = true
  const note = (name: string) => (result: unknown) => { order.push([name, result]) }
  connection.closed.then((info) => note('closed')(info.cause))
  connection.signal.addEventListener('abort', () => note('abort')(connection.signal.reason.cause.cause))
  connection.sendAsync('waits').then(note('send'))
  connection.pingAsync({ timeout: Infinity }).then(note('ping'))
  connection.receiveMessageAsync().then(note('receive'))
  peer.end()
  t.same(order, [['delete', true, true], ['abort', 'connection-lost']])
  await turn()
  t.same(order.slice(2), [['ping', null], ['receive', null], ['send', false], ['closed', 'connection-lost']])
})

t.test('the app gets the traffic, and closeInfo what was neither received nor sent', async (t) => {
  const { connection, transport, peer, log } = awaitedConnection({ settings: { sendLimits: ONE_AT_A_TIME, slowConsumer: 'drop' } })
  transport.isStuck = true
  connection.sendAsync('first')
  connection.sendAsync('waits')
  connection.sendAsync('waits too')
  connection.drop('dropped')
  peer.send('zwölf', Buffer.from([1, 2]), 'c')
  await connection.receiveMessageAsync()
  peer.end()
  t.match(connection.closeInfo, { unread: 2, unsent: 2 })
  t.same(log.at(-1)?.[2], { received: { messages: 3, bytes: 9 }, sent: { messages: 1, bytes: 5, dropped: 1 } })
  t.equal((await connection.receiveMessageAsync())?.length, 2, 'what waits can still be received')
})

t.test('a connection that the app did not await leaves its messages to the listeners', async (t) => {
  const { connection, socket, peer, log } = fakeConnection()
  const heard: string[] = []
  socket.on('message', (data) => heard.push(String(data)))
  peer.send('a')
  t.same([heard, connection._queue.length, connection.isAwaited], [['a'], 0, false])
  peer.end()
  t.match(log, [['delete', { unread: 0 }, { received: { messages: 1, bytes: 1 }, sent: NO_MESSAGES }]])
})

t.test('messages that wait go to the listeners that the application adds before the first receive', async (t) => {
  await t.test('to all that are added in this turn, in order', async (t) => {
    const { connection, socket, peer } = awaitedConnection()
    const heard: string[] = []
    peer.send('a', Buffer.from('b'))
    for (const name of ['first', 'second']) socket.on('message', (data, isBinary) => heard.push(`${name} ${data} ${isBinary}`))
    t.same(heard, [])
    await turn()
    t.same(heard, ['first a false', 'second a false', 'first b true', 'second b true'])
    peer.send('c')
    t.same(heard.slice(4), ['first c false', 'second c false'])
    t.equal(connection._queue.length, 0)
  })
  await t.test('before a message that comes in the same turn', async (t) => {
    const { socket, peer } = awaitedConnection()
    const heard: string[] = []
    peer.send('a')
    socket.on('message', (data) => heard.push(String(data)))
    peer.send('b')
    t.same(heard, ['a', 'b'])
    await turn()
    t.same(heard, ['a', 'b'])
  })
  await t.test('not if a receive comes first', async (t) => {
    const { connection, socket, peer } = awaitedConnection()
    const heard: string[] = []
    peer.send('a', 'b')
    socket.on('message', (data) => heard.push(String(data)))
    t.equal((await connection.receiveMessageAsync())?.getString(), 'a')
    await turn()
    t.same(heard, [])
    t.equal(connection._queue.length, 1)
  })
  await t.test('not to a listener that was there before, such as that of a monitor', async (t) => {
    const { connection, socket, peer } = fakeConnection()
    const heard: string[] = []
    socket.on('message', (data) => heard.push(String(data)))
    connection.startReceiving()
    peer.send('a')
    await turn()
    t.same(heard, ['a'])
    t.equal((await connection.receiveMessageAsync())?.getString(), 'a')
  })
})

t.test('an event that the application emits by hand changes nothing', async (t) => {
  const { connection, socket, log } = awaitedConnection()
  socket.emit('message', 'no Buffer', false)
  socket.emit('pong', 'no Buffer')
  socket.emit('close', 1000, Buffer.alloc(0))
  t.same([connection.isClosed, connection.closeInfo, connection._queue.length], [false, null, 0])
  t.same(log, [])
})

t.test('the first answer to a received message is written at once, those to messages that waited are gathered', async (t) => {
  const { connection, socket, peer } = awaitedConnection()
  connection.receiveMessageAsync()
  peer.send('a')
  t.equal(socket.isBatching, false)
  peer.send('b')
  t.equal(socket.isBatching, true)
})

t.test('messages of a read are counted and received, or left to the listeners', async (t) => {
  for (const isAwaited of [true, false]) {
    const fake = isAwaited ? awaitedConnection() : fakeConnection()
    const { connection, socket } = fake
    const heard: unknown[] = []
    if (!isAwaited) socket.on('message', (data, isBinary) => heard.push([data, isBinary]))
    read(fake, 'zwölf', Buffer.from('ab'))
    t.match(socket, { receivedMessages: 2, receivedBytes: 8 })
    t.same(heard, isAwaited ? [] : [[Buffer.from('zwölf'), false], [Buffer.from('ab'), true]])
    t.equal(connection._queue.length, isAwaited ? 2 : 0)
    if (!isAwaited) continue
    const [text, binary] = [connection.tryReceive(), connection.tryReceive()]
    t.match([text?.getString(), binary?.getString()], ['zwölf', 'ab'])
    t.match([text, binary], [{ isBinary: false, sender: connection }, { isBinary: true, sender: connection }])
  }
})

t.test('messages of a read go to listeners beside the receives, such as those of a monitor, as binaryType says', async (t) => {
  const fake = fakeConnection()
  const { connection, socket } = fake
  const heard: unknown[] = []
  socket.on('message', (data, isBinary) => heard.push([data, isBinary]))
  socket.binaryType = 'fragments'
  connection.startReceiving()
  read(fake, 'a', Buffer.from('b'))
  t.same(heard, [[Buffer.from('a'), false], [[Buffer.from('b')], true]])
  t.same([connection.tryReceive()?.getString(), connection.tryReceive()?.getString()], ['a', 'b'])
  t.match(socket, { receivedMessages: 2, receivedBytes: 2 })
})

t.test('messages of a read go to listeners that were added before the first receive, after those that wait', async (t) => {
  const fake = awaitedConnection()
  const heard: string[] = []
  read(fake, 'a')
  fake.socket.on('message', (data) => heard.push(String(data)))
  read(fake, 'b', 'c')
  t.same(heard, ['a', 'b', 'c'])
  t.equal(fake.connection._queue.length, 0)
})

t.test('a function that the application has put in the place of emit() gets each message, and decides what becomes of it', async (t) => {
  const fake = awaitedConnection()
  const { connection, socket } = fake
  const { emit } = socket
  const heard: unknown[][] = []
  socket.emit = (name, data, ...rest) => {
    heard.push([name, data, ...rest])
    return String(data) !== 'swallowed' && Reflect.apply(emit, socket, [name, data, ...rest])
  }
  read(fake, 'a', 'swallowed', Buffer.from('b'))
  t.same(heard, [['message', Buffer.from('a'), false], ['message', Buffer.from('swallowed'), false], ['message', Buffer.from('b'), true]])
  t.same([connection.tryReceive()?.getString(), connection.tryReceive()?.getString(), connection.tryReceive()], ['a', 'b', null])
  t.match(socket, { receivedMessages: 2, receivedBytes: 2 })
})

t.test('messages of a read that come when no more are taken are counted as unread', async (t) => {
  const fake = awaitedConnection()
  const { connection, log, peer } = fake
  connection.closeWith(4000, 'mine', 'local')
  read(fake, 'late', 'later')
  t.same(log, [['close', 4000, 'mine'], ['dropped', 'in', 'closing', 4], ['dropped', 'in', 'closing', 5]])
  peer.end()
  t.match(connection.closeInfo, { unread: 2 })
  t.match(log.at(-1), ['delete', {}, { received: { messages: 2, bytes: 9 } }])
})

t.test('a read with more messages than a paused connection can hold ends it at the hard cap', async (t) => {
  const fake = awaitedConnection({ settings: { receiveLimits: TINY_LIMITS } })
  read(fake, 'a', 'b', 'too much', 'even more')
  t.same(fake.log, [['dropped', 'in', 'receive-overflow', 8], ['close', 1008, 'too many messages'], ['dropped', 'in', 'closing', 9]])
})

t.test('whether answers are gathered is decided once a read: only where more messages wait', async (t) => {
  const fake = awaitedConnection()
  const { connection, socket } = fake
  const decided: boolean[] = []
  Object.defineProperty(socket, 'isBatching', { get: () => decided.at(-1), set: (value: boolean) => decided.push(value) })
  connection.receiveMessageAsync()
  read(fake, 'alone')
  connection.receiveMessageAsync()
  read(fake, 'first', 'second', 'third')
  t.same(decided, [false, true])
})

t.test('a message that ws emits is decoded as the inbound knows it', async (t) => {
  const { connection, peer } = awaitedConnection()
  peer.send('ö')
  connection._inbound.wsOnMessage = () => true
  peer.send('ö')
  t.same([connection.tryReceive()?.getString(), connection.tryReceive()?.getString()], ['ö', 'Ã¶'])
})

t.test('a message that ws emits is told to the inbound, whoever gets it', async (t) => {
  for (const { connection, peer } of [awaitedConnection(), fakeConnection()]) {
    let count = 0
    connection._inbound.wsOnMessage = () => ++count < 0
    peer.send('a', 'b')
    t.equal(count, 2)
  }
})

t.test('reading is paused above the high-water mark, and resumed by receives', async (t) => {
  const { connection, socket, peer } = awaitedConnection({ settings: { receiveLimits: { ...TINY_LIMITS, hardCap: { messages: 9, bytes: 1024 * 1024 } } } })
  peer.send('a', 'b')
  t.equal(socket.isPaused, true)
  await connection.receiveMessageAsync()
  await connection.receiveMessageAsync()
  t.equal(socket.isPaused, false)
})

t.test('a close resumes reading, so that the answer of the peer is seen', async (t) => {
  const { connection, socket } = awaitedConnection()
  socket.pause() // the application has paused it
  connection.closeWith(1000, '', 'local')
  t.equal(socket.isPaused, false)
})

t.test('the echo of the ping policy is no message, while the policy runs, whether ws emits it or it is read here', async (t) => {
  const fake = awaitedConnection()
  const { connection, peer } = fake
  const ways = [(...messages: (string | Buffer)[]) => peer.send(...messages), (...messages: (string | Buffer)[]) => read(fake, ...messages)]
  for (const way of ways) {
    connection.pingPolicy.start({ dataMessage: 'ping' })
    way('ping', Buffer.from('ping'), 'pong')
    connection.pingPolicy.stop()
    way('ping')
    t.same([1, 2, 3].map(() => connection.tryReceive()?.getString()), ['ping', 'pong', 'ping'])
    t.equal(connection.tryReceive(), null)
  }
})

/** What a handler is doing when the app begins to close, and whether its connection is closed then. */
const DRAINS: [when: string, prepare: (fake: Fake) => void, isClosed: boolean, nullsBeforeClose: number][] = [
  ['the application listens', () => {}, true, 0],
  ['nothing was received and nothing waits', ({ connection }) => connection.startReceiving(), true, 0],
  ['a message waits, and no receive was called', ({ connection, peer }) => {
    connection.startReceiving()
    peer.send('waits')
  }, false, 2],
  ['the handler is at work on a message', ({ connection, peer }) => {
    connection.startReceiving()
    peer.send('work')
    connection.tryReceive()
  }, false, 2],
  ['the handler waits in a receive, which resolves to null', ({ connection }) => {
    connection.startReceiving()
    connection.receiveMessageAsync()
  }, false, 1]
]

for (const [when, prepare, isClosed, nullsBeforeClose] of DRAINS) {
  t.test(`the app begins to close while ${when}: the connection is closed ${isClosed ? 'at once' : `when a receive gives null number ${nullsBeforeClose}`}`, async (t) => {
    const fake = fakeConnection()
    const { connection, lifecycle, log, peer } = fake
    prepare(fake)
    lifecycle.isClosing = true
    connection.drain()
    t.equal(connection.isClosed, isClosed)
    if (!isClosed) {
      peer.send('late')
      t.same(log, [['dropped', 'in', 'closing', 4]])
      t.equal(await connection.sendAsync('answer'), true, 'a message in work can still be answered')
      while (connection.tryReceive() !== null); // what had come before
      for (let nulls = 1; nulls <= nullsBeforeClose; nulls++) {
        t.equal(connection.isClosed, false)
        t.equal(await connection.receiveMessageAsync(), null)
      }
    }
    t.same(log.at(-1), ['close', 1001, 'server shutting down'])
    peer.end(1001, 'server shutting down')
    t.match(connection.closeInfo, { cause: 'shutdown', unread: isClosed ? 0 : 1 })
  })
}

t.test('drain() on a connection that is closing does not open it again', async (t) => {
  const { connection, log, peer } = awaitedConnection()
  connection.closeWith(4000, 'mine', 'local')
  connection.drain()
  await connection.receiveMessageAsync()
  await connection.receiveMessageAsync()
  t.equal(connection.isClosed, true)
  t.same(log, [['close', 4000, 'mine']])
  peer.end(4000, 'mine')
  t.equal(connection.closeInfo?.cause, 'local')
})

t.test('closeWith() while the app closes: the code by default is that of the shutdown, and the cause is shutdown unless the handler has failed', async (t) => {
  const closes: [args: Parameters<LiveConnection['closeWith']>, code: number, reason: string, cause: string][] = [
    [[undefined, undefined, 'local'], 1001, 'server shutting down', 'shutdown'],
    [[undefined, undefined, 'handler-returned'], 1001, 'server shutting down', 'shutdown'],
    [[undefined, 'own reason', 'local'], 1001, 'own reason', 'shutdown'],
    [[4000, undefined, 'local'], 4000, '', 'shutdown'],
    [[1011, '', 'handler-failed'], 1011, '', 'handler-failed']
  ]
  for (const [args, code, reason, cause] of closes) {
    const { connection, log, peer } = awaitedConnection({ isClosing: true })
    connection.closeWith(...args)
    t.same(log, [['close', code, reason]])
    peer.end()
    t.match(connection.closeInfo, { code, reason, cause })
  }
})

t.test('what waits to be sent goes out before a close frame, and is lost if the connection is terminated', async (t) => {
  const leaves: [name: string, leave: (fake: Fake) => void, expected: unknown[][], unsent: number][] = [
    ['closeWith()', ({ connection }) => connection.closeWith(1000, '', 'local'), [['write', 'a'], ['write', 'b'], ['write', 'c'], ['close', 1000, '']], 0],
    ['terminateWith()', ({ connection }) => connection.terminateWith('terminated'), [['write', 'a'], ['terminate']], 2],
    ['the close of the peer', ({ peer }) => peer.close(1000, ''), [['write', 'a'], ['close', 1000, '']], 2]
  ]
  for (const [name, leave, expected, unsent] of leaves) {
    const fake = awaitedConnection({ settings: { sendLimits: ONE_AT_A_TIME } })
    const { connection, transport, log, peer } = fake
    transport.isStuck = true
    const sent = ['a', 'b', 'c'].map((text) => connection.sendAsync(text))
    leave(fake)
    t.same(log, expected, name)
    t.same(await Promise.all(sent.slice(1)), unsent === 0 ? [true, true] : [false, false], name)
    peer.end()
    t.equal(connection.closeInfo?.unsent, unsent, name)
  }
})

t.test('messages that were gathered go out before a termination and before the end of the transport', async (t) => {
  for (const leave of [({ connection }: Fake) => connection.terminateWith('terminated'), ({ transport }: Fake) => transport.emit('end')]) {
    fakeClock(t)
    const fake = awaitedConnection()
    fake.socket.isBatching = true
    fake.connection.sendAsync('gathered')
    t.same(fake.log, [])
    leave(fake)
    t.same(fake.log[0], ['write', 'gathered'])
  }
})

t.test('a message that the application sends through the socket of ws comes after those that wait', async (t) => {
  const { connection, socket, transport, log } = awaitedConnection({ settings: { sendLimits: ONE_AT_A_TIME } })
  transport.isStuck = true
  for (const text of ['a', 'b']) connection.sendAsync(text)
  socket.send('through ws')
  t.match(log, [['write', 'a'], ['write', 'b'], ['send', 'through ws']])
})

t.test('messages go through ws where it may have to compress them, or where the application has its own class of sockets', async (t) => {
  class OwnWebSocket {}
  const situations: [situation: Situation, name: string][] = [
    [{}, 'write'],
    [{ isCompressed: true }, 'send'],
    [{ settings: { server: { closeTimeout: 10_000, maxPayload: 1024, WebSocket: OwnWebSocket } } }, 'send']
  ]
  for (const [situation, name] of situations) {
    const { connection, log } = awaitedConnection(situation)
    connection.sendAsync('text')
    t.match(log, [[name, 'text']])
  }
})

t.test("drop() with slowConsumer 'drop' keeps the connection open", async (t) => {
  const { connection, log } = awaitedConnection({ settings: { slowConsumer: 'drop' } })
  t.equal(await connection.drop(Buffer.alloc(5)), false)
  t.equal(connection.isClosed, false)
  t.same(log, [['dropped', 'out', 'slow-consumer', 5]])
})

t.test("drop() with slowConsumer 'close' gives up what waits, because it would only delay the close frame", async (t) => {
  const { connection, transport, log, peer } = awaitedConnection({ settings: { sendLimits: ONE_AT_A_TIME } })
  transport.isStuck = true
  for (const text of ['a', 'b']) connection.sendAsync(text)
  t.equal(await connection.drop('dropped'), false)
  t.match(log, [['write', 'a'], ['dropped'], ['close', 1013]])
  peer.end()
  t.equal(connection.closeInfo?.unsent, 1)
})

t.test('deliver() returns whether the publication was taken, and null on a connection that is closed', async (t) => {
  const { connection, socket, log } = awaitedConnection({ settings: { sendLimits: FULL, slowConsumer: 'drop' } })
  const publication = new Publication('news')
  t.equal(connection.deliver(publication), true)
  socket.bufferedAmount = 6 // it waits for the network
  t.equal(connection.deliver(publication), false)
  t.same(log, [['write', 'news'], ['dropped', 'out', 'slow-consumer', 4]])
  connection.closeWith(1000, '', 'local')
  t.equal(connection.deliver(publication), null)
})

t.test('the peer ends its side: the connection is closed before ws hears of it, and terminated after closeTimeout', async (t) => {
  const clock = fakeClock(t)
  const { connection, transport, log } = awaitedConnection({ wsOnEnd: () => { log.push(['ws', connection.isClosed]) } })
  transport.emit('end')
  t.same(log, [['ws', true]])
  clock.tick(9_999)
  t.equal(log.length, 1)
  clock.tick(1)
  t.same(log.slice(1), [['terminate']])
})

t.test('the peer ends its side while messages still come out of ws, as under compression: they are received', async (t) => {
  for (const situation of [{ isCompressed: true }, LATE_MESSAGES]) {
    const clock = fakeClock(t)
    const { connection, transport, log, peer } = awaitedConnection(situation)
    transport.emit('end')
    t.equal(connection.isClosed, false)
    peer.send('late')
    t.equal(connection.tryReceive()?.getString(), 'late')
    clock.tick(10_000)
    t.same(log, [['terminate']])
    t.equal(connection.isClosed, true)
    peer.end()
    t.equal(connection.closeInfo?.cause, 'connection-lost')
    clock.uninstall()
  }
})

t.test('no timer is left if the TCP connection is closed in time, and none is started after a close', async (t) => {
  const clock = fakeClock(t)
  const { transport, peer } = awaitedConnection()
  transport.emit('end')
  t.equal(clock.countTimers(), 1)
  peer.end()
  t.equal(clock.countTimers(), 0)
  const closing = awaitedConnection()
  closing.connection.closeWith(1000, '', 'local')
  closing.transport.emit('end')
  t.equal(clock.countTimers(), 0, 'ws has its own timer for the closing handshake')
})

t.test('the keep-alive hears of pongs, and of the transport that is resumed after a ping', async (t) => {
  const clock = fakeClock(t)
  const { connection, socket, transport, log } = awaitedConnection()
  t.equal(transport.listenerCount('resume'), 0)
  const latency = connection.pingAsync()
  t.equal(transport.listenerCount('resume'), 1)
  clock.tick(7)
  socket.emit('pong', Buffer.from(log[0]?.[1] as string))
  t.equal(await latency, 7)
  t.doesNotThrow(() => transport.emit('resume'))
})

t.test('there is no keep-alive over a transport that does not count its bytes, as the one of injectWS', async (t) => {
  const clock = fakeClock(t)
  const settings = { keepAlive: { interval: 1000, timeout: 500 } }
  const wheel = new TimerWheel(500, 1)
  const counted = awaitedConnection({ settings, owner: { wheel } })
  t.equal(clock.countTimers(), 1)
  counted.peer.end()
  t.equal(clock.countTimers(), 0)
  awaitedConnection({ settings, owner: { wheel }, isUncounted: true })
  t.equal(clock.countTimers(), 0)
})

t.test('isEndedBy() knows what a handler throws because signal has aborted', async (t) => {
  const { connection, peer } = awaitedConnection()
  t.equal(connection.isDueToEnd(undefined), false)
  const { signal } = connection
  peer.end()
  t.equal(connection.isDueToEnd(signal.reason), true)
  t.equal(connection.isDueToEnd(new Error('other')), false)
})

t.test('startReceiving() again changes nothing', async (t) => {
  const { connection } = awaitedConnection()
  connection.tryReceive()
  t.equal(connection._reader, 'receiving')
  connection.startReceiving()
  t.equal(connection._reader, 'receiving')
})

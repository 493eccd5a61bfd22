import { Duplex, Writable } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import type { WebSocket } from 'ws'
import type { FrameLimits } from '../../lib/receive/frame-reader.js'
import { Inbound, kOwner } from '../../lib/receive/inbound.js'
import { closeFrame, frame, readFrame } from '../fixtures/frames.js'

interface Situation {
  /** `null`: `ws` emits messages in a later turn of the event loop. */
  limits?: FrameLimits | null
  /** Whether this `ws` can be fed. */
  canBeFed?: boolean
  isClient?: boolean
  /** Whether messages go to receives. */
  isAwaited?: boolean
}

/** The transport of a connection. `log` has what `ws`, the connection and its queue are told, in order. */
class FakeTransport extends Duplex {
  readonly log: string[] = []
  readonly [kOwner]!: { _inbound: Inbound } // the inbound sets it
  bytesRead = 0
  unread = Buffer.alloc(0) // ws has it, and waits for the rest of the frame

  override _read (): void {}

  override _write (_chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    done()
  }

  override _final (done: () => void): void {
    this.log.push('our side ends')
    done()
  }
}

// The listeners of `ws`, which all transports share. It takes the first one off at a close frame, and all of them at the end

function wsOnData (this: FakeTransport, chunk: Buffer): void {
  this.unread = Buffer.concat([this.unread, chunk])
  for (let next; (next = readFrame(this.unread)) !== null;) {
    const name = { 0: 'continuation', 1: 'text', 2: 'binary', 8: 'close', 9: 'ping' }[next.opcode]
    const isMessage = this.unread[0]! >= 0x80 && next.opcode < 8
    this.unread = this.unread.subarray(next.size)
    const isAscii = isMessage && this[kOwner]._inbound.wsOnMessage()
    this.log.push(`ws: ${name} ${next.payload}${isAscii ? ', ASCII' : ''}`)
    if (name === 'close') this.off('data', wsOnData)
  }
}

function wsOnEnd (this: FakeTransport): void {
  this.log.push('ws: end')
}

function wsOnClose (this: FakeTransport, ...args: unknown[]): void {
  this.log.push(`ws: closed ${args}`)
  this.off('data', wsOnData)
  this.off('end', wsOnEnd)
  this.off('close', wsOnClose)
}

/** An inbound over a transport that `ws` has just taken. */
function newInbound ({ limits = { maxPayload: 1000 }, canBeFed = true, isClient = false, isAwaited = true }: Situation = {}) {
  const transport = new FakeTransport()
  const { log } = transport
  const receiver = new Writable({
    write (chunk: Buffer, _encoding, done) {
      log.push(`receiver: ${readFrame(chunk)?.payload}`)
      done()
    }
  })
  const socket = { isPaused: false, ...(isClient && { url: 'ws://localhost/' }), ...(canBeFed && { _receiver: receiver }) }
  const queue = { length: 0, isWaitedFor: false, readOnStart: (chunk: Buffer) => { log.push(`read ${chunk.length}`) } }
  const owner = {
    _inbound: null as unknown as Inbound, // set below
    _queue: queue,
    socket: socket as unknown as WebSocket, // nothing else of it is used
    isAwaited,
    messageOnRead: (chunk: Buffer, start: number, end: number, isBinary: boolean, isAscii: boolean) => {
      log.push(`${isBinary ? 'binary' : 'text'} ${chunk.toString('utf8', start, end)}${isAscii ? '' : ', not ASCII'}`)
    },
    chunkOnRead: () => { log.push('chunk') },
    transportOnEnd: () => { log.push('end') }
  }
  transport.on('data', wsOnData)
  transport.on('end', wsOnEnd)
  transport.on('close', wsOnClose)
  const inbound = owner._inbound = new Inbound(owner, transport, limits)
  return { inbound, owner, transport, receiver, queue, socket, log, read: (...frames: Buffer[]) => transport.emit('data', Buffer.concat(frames)) }
}

const LARGE = 'a payload that is long enough for its mask to be off'
const BYE = closeFrame(1000, 'bye')
// A text that has to wait at its end, because ws alone knows whether the parts of a character fit
const [BEGIN, LAST] = [frame(Buffer.from('begin\xc3', 'latin1'), { fin: false }), frame(Buffer.from('\xa9last', 'latin1'), { opcode: 0 })]
const CLOSED = 'ws: close \u0003\ufffdbye'
const PING = frame('ping', { opcode: 9 })
const withoutMask = (payload: string) => frame(payload, { mask: Buffer.alloc(4) })

t.test('messages go to the connection and the rest to ws, in order, and then the connection hears that a read is over', async (t) => {
  const { log, read } = newInbound()
  read(frame('a'), PING, frame('b', { opcode: 2 }), frame('zwölf'))
  t.same(log.splice(0), ['text a', 'ws: ping ping', 'binary b', 'text zwölf, not ASCII', 'chunk'])
  read(frame('cut').subarray(0, 3))
  t.same(log, ['chunk'])
})

t.test('the queue hears of a read before its messages, and only while others wait', async (t) => {
  for (const situation of [{}, { limits: null }, { limits: null, canBeFed: false }, { isClient: true }]) {
    const { log, read, queue } = newInbound(situation)
    read(frame('first'))
    t.notMatch(log.splice(0).join(), 'read')
    queue.length = 1
    read(frame('second'))
    t.equal(log.splice(0, 1)[0], 'read 12')
    t.notMatch(log.join(), 'read')
  }
})

t.test('a listener that was there before reads the bytes as they came, and a later one finds the same frames', async (t) => {
  const { transport, read } = newInbound()
  const heard: [string, Buffer][] = []
  transport.prependListener('data', (chunk) => heard.push(['earlier', Buffer.from(chunk)]))
  transport.on('data', (chunk) => heard.push(['later', Buffer.from(chunk)]))
  const both = Buffer.concat([frame('small'), frame(LARGE)])
  read(both)
  t.same(heard, [['earlier', both], ['later', Buffer.concat([withoutMask('small'), withoutMask(LARGE)])]])
})

t.test('wsOnMessage() tells once, for the message that is due, whether it is known to be ASCII', async (t) => {
  for (const [end, expected] of [['', ', ASCII'], ['ö', '']] as const) {
    const { inbound, log, read } = newInbound()
    const text = LARGE + end
    const bytes = frame(text)
    read(bytes.subarray(0, 20))
    t.equal(inbound.wsOnMessage(), false)
    read(bytes.subarray(20))
    t.same(log, ['chunk', `ws: text ${text}${expected}`, 'chunk'])
    t.equal(inbound.wsOnMessage(), false)
  }
})

t.test('where ws has emitted a message that was due, messages are taken again; where it has not, ws gets everything', async (t) => {
  const frames = [frame(Buffer.from([0xff])), frame('after')]
  const { inbound, log, read } = newInbound({ isAwaited: false })
  read(...frames)
  t.same(log, ['ws: text \ufffd', 'text after', 'chunk'])
  log.length = 0
  inbound.wsOnMessage = () => false // ws emits nothing
  read(...frames)
  t.same(log, ['ws: text \ufffd', 'ws: text after', 'chunk'])
})

t.test('a close frame behind messages waits for one turn of the event loop, and reading is stopped until its answer is out', async (t) => {
  const { transport, log, read } = newInbound()
  read(frame('a'), PING, BYE, frame('ignored'))
  t.same(log.splice(0), ['text a', 'ws: ping ping', 'chunk'])
  t.equal(transport.isPaused(), true)
  await Promise.resolve()
  process.nextTick(() => t.same(log, []))
  await nextTurn()
  t.same(log, [CLOSED, 'ws: text ignored', 'chunk'])
  t.equal(transport.isPaused(), true)
  await nextTurn()
  t.equal(transport.isPaused(), false)
})

t.test('what waits is not read if ws has ended the connection meanwhile', async (t) => {
  const { transport, log, read } = newInbound()
  read(frame('a'), BYE)
  transport.off('data', wsOnData)
  await nextTurn()
  t.same(log, ['text a', 'chunk'])
})

t.test('a close frame alone waits while the handler may have to answer what it was given, which is while no receive waits', async (t) => {
  for (const [isAwaited, isWaitedFor, waits] of [[true, false, true], [true, true, false], [false, false, false]] as const) {
    const { transport, queue, log, read } = newInbound({ isAwaited })
    queue.isWaitedFor = isWaitedFor
    read(BYE)
    t.same(log, waits ? ['chunk'] : [CLOSED, 'chunk'])
    t.equal(transport.isPaused(), waits)
    await nextTurn()
    t.same(log.slice(0, -1), waits ? ['chunk', CLOSED] : [CLOSED])
  }
})

t.test('what comes while bytes wait is read after them', async (t) => {
  const { log, read } = newInbound()
  const [begin, last] = [BEGIN, LAST]
  read(frame('a'), begin, last.subarray(0, 7))
  read(last.subarray(7), frame('b')) // somebody has resumed the transport
  read(frame('c'))
  log.length = 0
  await nextTurn()
  t.same(log, ['ws: continuation \ufffdlast', 'text b', 'text c', 'chunk'])
})

t.test('bytes that wait again, behind messages that followed, wait for a turn of their own', async (t) => {
  const { transport, queue, log, read } = newInbound()
  read(BEGIN, LAST, frame('b'), BYE)
  t.same(log.splice(0), ['ws: text begin\ufffd', 'chunk'])
  queue.length = 1
  await nextTurn()
  t.same(log.splice(0), ['ws: continuation \ufffdlast', 'text b', 'chunk'], 'the queue has heard of the read already')
  t.equal(transport.isPaused(), true)
  await nextTurn()
  t.same(log, [CLOSED, 'chunk'])
  t.equal(transport.isPaused(), true)
  await nextTurn()
  t.equal(transport.isPaused(), false)
})

t.test('reading is not resumed while what came meanwhile waits', async (t) => {
  const { transport, log, read } = newInbound()
  read(frame('a'), BEGIN, LAST)
  await nextTurn()
  read(frame('b'), BYE)
  log.length = 0
  setImmediate(() => t.equal(transport.isPaused(), true))
  await nextTurn()
  t.same(log, [CLOSED, 'chunk'])
})

t.test('a socket that was paused meanwhile stays paused', async (t) => {
  const { transport, socket, log, read } = newInbound()
  read(frame('a'), BYE)
  socket.isPaused = true
  for (let turn = 0; turn < 3; turn++) await nextTurn()
  t.same(log, ['text a', 'chunk', CLOSED, 'chunk'])
  t.equal(transport.isPaused(), true)
})

t.test('the transport ends: the connection hears of it, then ws', async (t) => {
  const { transport, log } = newInbound()
  transport.emit('end')
  t.same(log, ['end', 'ws: end'])
})

t.test('the transport ends while bytes wait: they are handed over at once, and the end a turn later, because ws may answer them', async (t) => {
  const { transport, log, read } = newInbound()
  read(frame('a'), PING, BEGIN, LAST, frame('b'), frame('cut').subarray(0, -1))
  log.length = 0
  transport.emit('end')
  t.same(log.splice(0), ['ws: continuation \ufffdlast', 'text b'])
  await nextTurn()
  t.same(log.splice(0), ['end', 'ws: end'])
  await nextTurn()
  t.same(log, [], 'nothing is read twice')
})

t.test('the transport ends while a close frame waits: that is the end for ws, and our side ends', async (t) => {
  const { transport, log, read } = newInbound()
  read(frame('a'), BYE)
  transport.emit('end')
  for (let turn = 0; turn < 2; turn++) await nextTurn()
  t.same(log, ['text a', 'chunk', CLOSED, 'our side ends'])
})

t.test('the transport is destroyed: what waits, and what comes behind it, is handed over before ws hears of it', async (t) => {
  const { transport, log } = newInbound()
  await nextTurn() // until the transport flows
  transport.push(Buffer.concat([frame('a'), BYE.subarray(0, 8)]))
  transport.push(BYE.subarray(8))
  t.same(log.splice(0), ['text a', 'chunk'])
  transport.destroy()
  await nextTurn()
  t.same(log, [CLOSED, 'ws: closed '])
})

t.test('a paused transport is destroyed: what it still has is read before ws hears of it', async (t) => {
  const { transport, log } = newInbound()
  transport.pause()
  transport.push(Buffer.concat([frame('a'), BYE]))
  transport.destroy()
  await nextTurn()
  t.same(log, ['text a', CLOSED, 'ws: closed '])
})

t.test('the transport is destroyed behind messages of which each has to be answered: all is handed over at once', async (t) => {
  const { transport, log, read } = newInbound()
  const message = [BEGIN, LAST]
  read(frame('a'), ...message, frame('b'), ...message, frame('c'), BYE)
  log.length = 0
  transport.emit('close', true)
  t.same(log, ['ws: continuation \ufffdlast', 'text b', 'ws: text begin\ufffd', 'ws: continuation \ufffdlast', 'text c', CLOSED, 'ws: closed true'])
})

t.test('once ws has concluded, nothing is read at the end: our side ends if it has not, and ws need not hear of it', async (t) => {
  const { inbound, transport, log, read } = newInbound({ isAwaited: false })
  const end = transport.end.bind(transport)
  let ends = 0
  transport.end = () => { // with an error, if it has ended
    ends++
    return end()
  }
  t.equal(inbound.hasConcluded, false)
  read(BYE)
  t.equal(inbound.hasConcluded, true)
  log.length = 0
  transport.pause()
  transport.push(frame('late'))
  transport.emit('end')
  transport.emit('end')
  await nextTurn()
  t.same(log.splice(0), ['our side ends'])
  t.equal(ends, 1)
  transport.emit('close')
  t.same(log, ['ws: closed '])
})

t.test('the transport closes: the receiver of ws ignores that it is ended again, if it has ended', async (t) => {
  for (const [last, hasEnded] of [[BYE, true], [PING, false]] as const) {
    const { transport, receiver, read } = newInbound({ isAwaited: false })
    read(last)
    if (hasEnded) receiver.end() // as ws does after a close frame
    transport.emit('close')
    t.equal(Object.hasOwn(receiver, 'end'), hasEnded)
    t.equal(receiver.end(), receiver)
  }
  const removed = newInbound({ isAwaited: false })
  removed.transport.removeListener('data', wsOnData)
  removed.transport.emit('close')
  removed.receiver.end()
  t.equal(removed.receiver.writableEnded, true, 'one that has not ended can end, although something has taken the listener of ws off')
  const { transport, log, read } = newInbound({ isAwaited: false, canBeFed: false })
  read(BYE)
  transport.emit('close')
  t.same(log.at(-1), 'ws: closed ', 'a ws without such a receiver is left alone')
})

t.test('hasConcluded tells that ws has taken its listener off, however it reads', async (t) => {
  for (const situation of [{}, { isClient: true }, { limits: null }, { limits: null, canBeFed: false }]) {
    const { inbound, transport } = newInbound(situation)
    t.equal(inbound.hasConcluded, false)
    t.same(transport.listeners('data').filter((listener) => listener === wsOnData), [wsOnData])
    transport.removeListener('data', wsOnData)
    t.equal(inbound.hasConcluded, true)
  }
})

t.test('ws takes its listeners off by their own names, and reads no more then', async (t) => {
  const { transport, log, read } = newInbound()
  transport.removeListener('data', wsOnData)
  transport.removeListener('end', wsOnEnd)
  transport.removeListener('close', wsOnClose)
  read(frame('a'))
  for (const name of ['data', 'end', 'close']) t.equal(transport.listenerCount(name), 0, name)
  t.same(log, [])
})

t.test('connections share their listeners, and each transport knows its connection', async (t) => {
  const [one, other] = [newInbound(), newInbound()]
  for (const name of ['data', 'end', 'close']) t.equal(one.transport.rawListeners(name)[0], other.transport.rawListeners(name)[0], name)
  for (const { transport, owner } of [one, other]) t.equal(transport[kOwner], owner)
  one.read(frame('to one'))
  t.same([one.log.length, other.log], [2, []])
})

t.test('a client leaves reading to ws: the frames of a server have no masks', async (t) => {
  const { transport, log, read } = newInbound({ isClient: true })
  read(frame('from the server', { isMasked: false }))
  t.same(log.splice(0), ['ws: text from the server'])
  transport.emit('end')
  transport.emit('close')
  t.same(log, ['end', 'ws: end', 'ws: closed '])
})

t.test('ws that emits messages later gets one frame at a time, or reads by itself where it cannot be fed', async (t) => {
  const fed = newInbound({ limits: null })
  fed.read(frame(LARGE), frame('b'))
  t.same(fed.log, [`receiver: ${LARGE}`, 'receiver: b'])
  const unfed = newInbound({ limits: null, canBeFed: false })
  unfed.read(frame(LARGE), frame('b'))
  t.same(unfed.log, [`ws: text ${LARGE}`, 'ws: text b'])
  for (const { transport, log } of [fed, unfed]) {
    log.length = 0
    transport.emit('end')
    t.same(log, ['end', 'ws: end'])
  }
})

t.test('a transport on which ws does not listen is not read', async (t) => {
  const { owner, log } = newInbound()
  const transport = new FakeTransport()
  const inbound = owner._inbound = new Inbound(owner, transport, { maxPayload: 1000 })
  t.equal(inbound.hasConcluded, false)
  for (const name of ['data', 'end']) t.doesNotThrow(() => transport.emit(name, frame('a')), name)
  t.same(log, ['end'])
})

t.test('bytesRead is what the transport has counted, if it counts', async (t) => {
  const { inbound, owner, transport } = newInbound()
  transport.bytesRead = 5
  t.match(inbound, { isCounted: true, bytesRead: 5 })
  t.match(new Inbound(owner, new Duplex(), null), { isCounted: false, bytesRead: 0 })
})

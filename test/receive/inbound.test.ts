import { Duplex, Writable } from 'node:stream'
import t from 'tap'
import type { WebSocket } from 'ws'
import { Inbound, kOwner } from '../../lib/receive/inbound.js'
import { frame } from '../fixtures/raw-client.js'

interface Situation {
  /** Whether `ws` emits a message in a later turn of the event loop. */
  isReadLater?: boolean
  /** Whether this `ws` can be fed. */
  canBeFed?: boolean
  /** How many messages wait in the queue. */
  length?: number
}

/** An inbound over a transport on which `ws` and somebody before it listen: `log` has what each of them got, in order. */
function newInbound ({ isReadLater = false, canBeFed = true, length = 0 }: Situation = {}) {
  const log: [name: string, chunk: Buffer][] = []
  const note = (name: string) => (chunk: Buffer) => { log.push([name, Buffer.from(chunk)]) }
  const transport = Object.assign(new Duplex({ read () {}, write (_chunk, _encoding, done) { done() } }), { bytesRead: 0 })
  transport.on('data', note('earlier listener'))
  const wsOnData = note('ws')
  transport.on('data', wsOnData)
  const receiver = new Writable({
    write (chunk, _encoding, done) {
      note('receiver')(chunk)
      done()
    }
  })
  const socket = { isPaused: false, ...(canBeFed && { _receiver: receiver }) } as unknown as WebSocket // nothing else of it is used
  const queue = { length, readOnStart: note('queue') }
  const owner = {} as { _inbound: Inbound }
  owner._inbound = new Inbound(owner, queue, socket, transport, isReadLater)
  transport.on('data', note('later listener'))
  return { inbound: owner._inbound, owner, transport, queue, wsOnData, log, read: (chunk: Buffer) => transport.emit('data', chunk) }
}

const PAYLOAD = 'a payload that is long enough to be unmasked here'

/** A frame as a client sends it, and the same with a mask of zeros. */
function frames (payload = PAYLOAD) {
  const masked = frame(payload)
  const unmasked = Buffer.from(masked)
  unmasked.fill(0, 2, 6)
  unmasked.write(payload, 6)
  return { masked, unmasked }
}

t.test('the masks are off before anybody reads, and the queue hears of a read before that', async (t) => {
  const { masked, unmasked } = frames()
  const { log, read } = newInbound({ length: 1 })
  read(Buffer.from(masked))
  t.same(log, [['queue', masked], ['earlier listener', unmasked], ['ws', unmasked], ['later listener', unmasked]])
})

t.test('the queue hears of a read only while messages wait', async (t) => {
  for (const isReadLater of [false, true]) {
    const { log, read, queue } = newInbound({ isReadLater })
    const heard = () => log.filter(([name]) => name === 'queue').length
    read(frame('first'))
    t.equal(heard(), 0)
    queue.length = 1
    read(frame('second'))
    t.equal(heard(), 1)
  }
})

t.test('a read goes on where the one before has stopped', async (t) => {
  const { masked, unmasked } = frames()
  for (const cut of [1, 5, 6, 30]) {
    const { log, read } = newInbound()
    read(Buffer.concat([masked, masked.subarray(0, cut)]))
    read(Buffer.concat([masked.subarray(cut), masked]))
    const [first, second] = log.filter(([name]) => name === 'ws').map(([, chunk]) => chunk)
    t.same(first, Buffer.concat([unmasked, masked.subarray(0, cut)]), 'a frame that is not there as a whole stays as it is')
    t.same(second, Buffer.concat([masked.subarray(cut), unmasked]))
  }
})

t.test('wsOnData is the listener of ws, which takes it off when it has read a close frame', async (t) => {
  for (const situation of [{}, { isReadLater: true }, { isReadLater: true, canBeFed: false }]) {
    const { inbound, transport, wsOnData } = newInbound(situation)
    t.equal(inbound.wsOnData, wsOnData)
    t.equal(transport.listeners('data').includes(wsOnData), true)
    transport.off('data', wsOnData)
    t.equal(transport.listeners('data').includes(wsOnData), false)
  }
})

t.test('ws that emits messages later gets one frame at a time, and the masks are taken off once', async (t) => {
  const { masked, unmasked } = frames()
  const { log, read } = newInbound({ isReadLater: true, length: 1 })
  const both = Buffer.concat([masked, masked])
  read(Buffer.from(both))
  t.same(log.filter(([name]) => name === 'receiver'), [['receiver', unmasked], ['receiver', unmasked]])
  t.same(log.filter(([name]) => name !== 'receiver').map(([name]) => name), ['queue', 'earlier listener', 'later listener'])
  t.same(log.slice(0, 2), [['queue', both], ['earlier listener', both]])
})

t.test('ws that emits messages later and cannot be fed reads by itself', async (t) => {
  const { masked, unmasked } = frames()
  const { log, read } = newInbound({ isReadLater: true, canBeFed: false })
  read(Buffer.from(masked))
  t.same(log, [['earlier listener', unmasked], ['ws', unmasked], ['later listener', unmasked]])
})

t.test('the transport knows its connection, and connections share their listener', async (t) => {
  const [one, other] = [newInbound(), newInbound()]
  for (const { transport, owner } of [one, other]) t.equal((transport as unknown as { [kOwner]: unknown })[kOwner], owner)
  t.equal(one.transport.listeners('data')[0], other.transport.listeners('data')[0])
  one.read(frame('to one'))
  t.same(other.log, [])
})

t.test('bytesRead is what the transport has counted, if it counts', async (t) => {
  const { inbound, transport } = newInbound()
  transport.bytesRead = 5
  t.match(inbound, { isCounted: true, bytesRead: 5 })
  const { bytesRead, ...uncounted } = transport
  t.equal(bytesRead, 5)
  const silent = new Inbound({ _inbound: inbound }, { length: 0, readOnStart () {} }, {} as WebSocket, Object.assign(new Duplex(), uncounted), false)
  t.match(silent, { isCounted: false, bytesRead: 0 })
})

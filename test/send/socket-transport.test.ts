import { Duplex } from 'node:stream'
import t from 'tap'
import { Batch } from '../../lib/send/batch.js'
import { Publication } from '../../lib/send/frame.js'
import { Outbox } from '../../lib/send/outbox.js'
import { sendTransport } from '../../lib/send/socket-transport.js'

interface Sent {
  readonly data: string | Buffer
  readonly options: { binary: boolean, compress: boolean }
  readonly onWritten: ((error?: Error | null) => void) | undefined
}

interface Situation {
  isClient?: boolean
  isLeftToWs?: boolean
}

/** The transport that the sender gets, over a socket of `ws` that notes what it sends. */
function newTransport ({ isClient = false, isLeftToWs = true }: Situation = {}) {
  const sent: Sent[] = []
  const socket = {
    url: isClient ? 'ws://127.0.0.1/' : undefined,
    readyState: 1,
    isBatching: false,
    gathered: undefined,
    bufferedAmount: 0,
    sentMessages: 0,
    sentBytes: 0,
    sendUnobserved (data: Sent['data'], options: Sent['options'], onWritten: Sent['onWritten']) { sent.push({ data, options, onWritten }) }
  }
  const stream = new Duplex({ read () {} })
  const transport = sendTransport(socket, stream, isLeftToWs)
  return { transport, sent, socket, stream }
}

t.test('messages of a server are framed here unless they are left to ws, and those of a client never', async (t) => {
  const isFramedHere = (situation: Situation) => newTransport(situation).transport instanceof Outbox
  t.equal(isFramedHere({ isLeftToWs: false }), true)
  t.equal(isFramedHere({ isLeftToWs: true }), false)
  t.equal(isFramedHere({ isLeftToWs: false, isClient: true }), false, 'a client masks its frames')
})

t.test('isOpen follows the state of the socket', async (t) => {
  for (const isLeftToWs of [true, false]) {
    const { transport, socket } = newTransport({ isLeftToWs })
    t.equal(transport.isOpen, true)
    socket.readyState = 2
    t.equal(transport.isOpen, false)
  }
})

t.test('a string is sent as text and bytes as binary, each with its compression', async (t) => {
  const { transport, sent } = newTransport()
  const bytes = Buffer.from('bytes')
  transport.send('text', 4, true)
  transport.send(bytes, 5, false)
  t.match(sent, [
    { data: 'text', options: { binary: false, compress: true } },
    { data: bytes, options: { binary: true, compress: false } }
  ])
  t.equal(sent[1]?.data, bytes, 'it is not copied')
})

t.test('a publication is sent as its data, compressed where compression was negotiated', async (t) => {
  const { transport, sent } = newTransport()
  transport.publish(new Publication('zwölf'))
  transport.publish(new Publication(Buffer.from('bytes')))
  t.match(sent, [
    { data: 'zwölf', options: { binary: false, compress: true } },
    { data: Buffer.from('bytes'), options: { binary: true, compress: true } }
  ])
})

t.test('the messages of a batch are sent in order, and the callback comes after the last', async (t) => {
  const { transport, sent } = newTransport()
  const batch = new Batch(false)
  batch.add('one', 3)
  batch.add(Buffer.from('two'), 3)
  batch.add('three', 5)
  let flushed = 0
  transport.sendBatch(batch, () => { flushed++ })
  t.match(sent, [{ data: 'one' }, { data: Buffer.from('two') }, { data: 'three' }])
  t.ok(sent.every(({ options }) => !options.compress))
  t.same(sent.map(({ onWritten }) => onWritten !== undefined), [false, false, true])
  sent[2]?.onWritten?.()
  t.equal(flushed, 1)
})

t.test('the callback is not called for a write that failed, or on a connection that was cut off', async (t) => {
  const { transport, sent, stream } = newTransport()
  let flushed = 0
  for (let i = 0; i < 3; i++) transport.send('text', 4, true, () => { flushed++ })
  sent[0]?.onWritten?.(null)
  t.equal(flushed, 1)
  sent[1]?.onWritten?.(new Error('write EPIPE'))
  t.equal(flushed, 1)
  stream.destroy()
  sent[2]?.onWritten?.()
  t.equal(flushed, 1)
})

t.test('what waits costs its bytes and something for each message, and nothing once the network has taken all', async (t) => {
  const { transport, socket } = newTransport()
  t.equal(transport.cost, 0)
  for (let i = 0; i < 10; i++) {
    transport.send('text', 4, true)
    socket.bufferedAmount += 6
  }
  t.equal(transport.bufferedAmount, 60)
  const { cost } = transport
  t.equal(cost, 60 + 10 * transport.messageCost)
  socket.bufferedAmount = 0
  t.equal(transport.cost, 0)
  transport.send('text', 4, true)
  socket.bufferedAmount = 6
  t.equal(transport.cost, 6 + transport.messageCost, 'the messages before it are counted no more')
})

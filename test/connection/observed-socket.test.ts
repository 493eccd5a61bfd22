import t from 'tap'
import { WebSocket } from 'ws'
import type { SocketObserver } from '../../lib/connection/observed-socket.js'
import { ObservedFake } from '../fixtures/fake-socket.js'

/** An observed socket; `log` has what its observer and the socket underneath were called with, in order. */
function newSocket () {
  const socket = new ObservedFake()
  const log: unknown[][] = socket.calls
  const note = (name: string) => (...args: unknown[]) => { log.push([name, ...args]) }
  const observer: SocketObserver = {
    socketOnMessage: note('socketOnMessage'),
    socketOnPong: note('socketOnPong'),
    socketOnError: note('socketOnError'),
    socketOnClose: note('socketOnClose'),
    socketOnListening: note('socketOnListening'),
    socketOnSending: note('socketOnSending'),
    socketOnClosing: note('socketOnClosing'),
    socketOnTerminating: note('socketOnTerminating')
  }
  socket.observer = observer
  socket.gathered = { flush: () => { log.push(['flush']) } }
  return { socket, log }
}

const bytes = Buffer.from('bytes')

t.test('what ws emits reaches the observer first, and then the listeners', async (t) => {
  const { socket, log } = newSocket()
  const error = new Error('broken')
  for (const name of ['message', 'pong', 'error', 'close']) socket.on(name, (...args) => { log.push([name, ...args]) })
  log.length = 0
  socket.emit('message', bytes, true)
  socket.emit('pong', bytes)
  socket.emit('error', error)
  socket.readyState = socket.CLOSED
  socket.emit('close', 1000, bytes)
  t.same(log, [
    ['socketOnMessage', bytes, true], ['message', bytes, true], ['socketOnPong', bytes], ['pong', bytes],
    ['socketOnError', error], ['error', error], ['socketOnClose', 1000, bytes], ['close', 1000, bytes]
  ])
})

t.test('an event that an application emits by hand reaches the listeners alone', async (t) => {
  const { socket, log } = newSocket()
  for (const name of ['message', 'pong', 'close']) socket.on(name, () => { log.push([name]) })
  log.length = 0
  socket.emit('message', 'no Buffer')
  socket.emit('pong', 'no Buffer')
  socket.emit('close', 1000, bytes)
  t.same(log, [['message'], ['pong'], ['close']])
})

t.test('an error that no listener hears does not throw where there is an observer, and throws where there is none', async (t) => {
  const { socket, log } = newSocket()
  const error = new Error('broken')
  t.equal(socket.emit('error', error), false)
  t.same(log, [['socketOnError', error]])
  socket.observer = undefined
  t.throws(() => socket.emit('error', error), error)
})

t.test('the observer hears of a listener for messages, however it is added', async (t) => {
  const { socket, log } = newSocket()
  socket.on('pong', () => {})
  t.same(log, [])
  for (const add of ['on', 'addListener', 'prependListener', 'once', 'prependOnceListener'] as const) {
    log.length = 0
    socket[add]('message', () => {})
    t.same(log, [['socketOnListening']], add)
  }
})

t.test('send() tells the observer first and counts bytes of every kind, and neither once the socket is not open', async (t) => {
  const { socket, log } = newSocket()
  const data = ['zwölf', 12, bytes, new Uint16Array(3), new ArrayBuffer(5), new Blob(['blob'])]
  for (const each of data) socket.send(each as string, {}, undefined)
  t.same(log.map(([name]) => name), data.flatMap(() => ['socketOnSending', 'send']))
  t.equal(socket.sentMessages, 6)
  t.equal(socket.sentBytes, 6 + 2 + 5 + 6 + 5 + 4)
  socket.readyState = WebSocket.CLOSING
  log.length = 0
  socket.send('late')
  t.same(log, [['send', 'late']], 'ws answers for it')
  t.match(socket, { sentMessages: 6, sentBytes: 28 })
})

t.test("sendUnobserved() sends and counts the observer's own messages, and does not tell it", async (t) => {
  const { socket, log } = newSocket()
  socket.sendUnobserved('own')
  t.same(log, [['send', 'own']])
  t.match(socket, { sentMessages: 1, sentBytes: 3 })
})

t.test('before a ping or a pong what was gathered is written', async (t) => {
  const { socket, log } = newSocket()
  socket.ping('a')
  socket.pong('b')
  t.same(log, [['flush'], ['ping', 'a'], ['flush'], ['pong', 'b']])
})

t.test('the payload of a pong that has to wait is copied, so that it does not keep the whole read in memory', async (t) => {
  const { socket, log } = newSocket()
  const read = Buffer.from('before payload after')
  const payload = read.subarray(7, 14)
  socket.pong(payload)
  t.equal(log[1]?.[1], payload, 'nothing waits: it is written at once')
  socket.bufferedAmount = 1
  socket.pong(payload)
  const copy = log[3]?.[1] as Buffer
  t.equal(String(copy), 'payload')
  t.equal(copy.buffer.byteLength, 7)
})

t.test('close() tells the observer when the socket stops being open, with the code and the reason on the wire', async (t) => {
  const closes: [args: [number?, (string | Buffer)?], expected: [number, string]][] = [
    [[], [1005, '']],
    [[1000], [1000, '']],
    [[4000, 'text'], [4000, 'text']],
    [[4000, bytes], [4000, 'bytes']]
  ]
  for (const [args, expected] of closes) {
    const { socket, log } = newSocket()
    socket.close(...args)
    t.match(log, [['flush'], ['close'], ['socketOnClosing', ...expected]])
    log.length = 0
    socket.close(...args)
    t.match(log, [['close']], 'the second time it is not open any more')
    t.equal(log.length, 1)
  }
})

t.test('close() that leaves the socket open does not tell the observer of a close', async (t) => {
  const { socket, log } = newSocket()
  socket.staysOpen = true
  socket.close(4000)
  t.match(log, [['flush'], ['close']])
  t.equal(log.length, 2)
})

t.test('terminate() tells the observer once', async (t) => {
  const { socket, log } = newSocket()
  socket.terminate()
  socket.terminate()
  t.same(log, [['flush'], ['terminate'], ['socketOnTerminating'], ['flush'], ['terminate']])
})

t.test('messages that ws emits are counted, whether the observer takes them or not', async (t) => {
  const { socket } = newSocket()
  socket.emit('message', bytes, true)
  socket.emit('message', 'by hand')
  t.match(socket, { receivedMessages: 1, receivedBytes: 5 })
})

t.test('isEmitReplaced tells whether the application has put a function of its own in the place of emit()', async (t) => {
  const { socket } = newSocket()
  t.equal(socket.isEmitReplaced, false)
  const { emit } = socket
  socket.emit = (...args) => Reflect.apply(emit, socket, args)
  t.equal(socket.isEmitReplaced, true)
  t.equal(newSocket().socket.isEmitReplaced, false, 'another socket has its own')
  Reflect.deleteProperty(socket, 'emit')
  t.equal(socket.isEmitReplaced, false)
})

t.test('emitToListeners() reaches the listeners alone, and counts nothing', async (t) => {
  const { socket, log } = newSocket()
  socket.on('message', (...args) => { log.push(['message', ...args]) })
  log.length = 0
  socket.emitToListeners(bytes, false)
  t.same(log, [['message', bytes, false]])
  t.match(socket, { receivedMessages: 0, receivedBytes: 0 })
})

t.test('binaryType is what listeners get; the observer gets a Buffer whatever it is', async (t) => {
  const { socket, log } = newSocket()
  const payload = Buffer.from('before payload').subarray(7)
  const heard: unknown[] = []
  socket.on('message', (data) => heard.push(data))
  t.equal(socket.binaryType, 'nodebuffer')
  for (const type of ['nodebuffer', 'arraybuffer', 'fragments', 'blob', 'unknown'] as const) {
    socket.binaryType = type as 'nodebuffer'
    log.length = 0
    socket.emit('message', payload, true)
    socket.emit('message', payload, false)
    socket.emitToListeners(payload, true)
    t.same(log, [['socketOnMessage', payload, true], ['socketOnMessage', payload, false]], type)
  }
  t.equal(socket.binaryType, 'blob', 'an unknown type changes nothing')
  const [buffer, arrayBuffer, fragments, blob] = [heard[0], heard[3], heard[6], heard[9]]
  t.equal(buffer, payload)
  t.ok(arrayBuffer instanceof ArrayBuffer && Buffer.from(arrayBuffer).equals(payload), 'it has the bytes of the message alone')
  t.same(fragments, [payload])
  t.ok(blob instanceof Blob && await blob.text() === 'payload')
  t.same([heard[1], heard[4], heard[7], heard[10]], Array(4).fill(payload), 'a text message stays a Buffer')
  t.same(heard[5], heard[3], 'emitToListeners() converts too')
})

import t from 'tap'
import { toSendable, type Sendable } from '../../lib/send/sendable.js'

t.test('a string and a Buffer stay as they are', async (t) => {
  const bytes = Buffer.from('bytes')
  t.equal(toSendable('text'), 'text')
  t.equal(toSendable(''), '')
  t.equal(toSendable(bytes), bytes)
})

const memory = Uint8Array.from([0, 1, 2, 3, 4, 5, 6, 7]).buffer
const shared = new SharedArrayBuffer(2)
new Uint8Array(shared).set([8, 9])

/** Bytes of each kind, with what they hold and the memory that they are in. */
const kinds: [name: string, data: Sendable, bytes: number[], memory: ArrayBufferLike][] = [
  ['a Uint8Array', new Uint8Array(memory, 1, 3), [1, 2, 3], memory],
  ['a view of larger elements', new Uint16Array(memory, 2, 2), [2, 3, 4, 5], memory],
  ['a DataView', new DataView(memory, 6), [6, 7], memory],
  ['an empty view', new Uint8Array(memory, 3, 0), [], memory],
  ['an ArrayBuffer', memory, [0, 1, 2, 3, 4, 5, 6, 7], memory],
  ['a SharedArrayBuffer', shared as unknown as ArrayBuffer, [8, 9], shared]
]

for (const [name, data, bytes, memory] of kinds) {
  t.test(`${name} becomes a Buffer on the same memory`, async (t) => {
    const sendable = toSendable(data) as Buffer
    t.equal(Buffer.isBuffer(sendable), true)
    t.same([...sendable], bytes)
    if (bytes.length > 0) t.equal(sendable.buffer, memory)
  })
}

t.test('anything else is refused', async (t) => {
  for (const data of [undefined, null, 5, true, {}, [1, 2], new Blob(['blob']), new Date(0)]) {
    t.throws(() => toSendable(data as never), { code: 'FST_WSA_INVALID_ARGUMENT', message: /^Invalid argument data: expected a string, a Buffer/ })
  }
})

t.test('bytes that were transferred elsewhere are refused, and not sent as an empty message', async (t) => {
  for (const data of [new ArrayBuffer(8), new Uint8Array(8), new DataView(new ArrayBuffer(8))]) {
    const memory = ArrayBuffer.isView(data) ? data.buffer : data
    structuredClone(memory, { transfer: [memory] })
    t.throws(() => toSendable(data), { code: 'FST_WSA_INVALID_ARGUMENT', message: /expected bytes that were not transferred elsewhere/ })
  }
})

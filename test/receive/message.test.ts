import t from 'tap'
import { Message } from '../../lib/receive/message.js'

const sender = { name: 'the connection' }
const whole = (bytes: Buffer, isBinary: boolean) => new Message(bytes, 0, bytes.length, isBinary, false, sender)
const message = (data: string | Buffer, isBinary = false) => whole(Buffer.from(data as string), isBinary)

t.test('a message has its bytes as they came, its kind and its sender', async (t) => {
  const bytes = Buffer.from([0, 255, 128])
  const binary = whole(bytes, true)
  t.equal(binary.bytes, bytes, 'they are not copied')
  t.equal(binary.isBinary, true)
  t.equal(binary.sender, sender)
  t.equal(message('text').isBinary, false)
})

t.test('length counts bytes, not characters', async (t) => {
  t.equal(message('').length, 0)
  t.equal(message('zwölf').length, 6)
  t.equal(message('😀').length, 4)
})

t.test('getString() decodes the payload as UTF-8, or in the encoding that is asked for', async (t) => {
  t.equal(message('zwölf 😀').getString(), 'zwölf 😀')
  t.equal(message('').getString(), '')
  t.equal(message(Buffer.from([0xe4, 0xff]), true).getString('latin1'), 'äÿ')
  t.equal(message(Buffer.from([0xe4, 0xff]), true).getString('hex'), 'e4ff')
  t.equal(message(Buffer.from([0xff]), true).getString(), '\ufffd', 'binary data that is not UTF-8 does not throw')
})

t.test('getString() decodes only the payload of a message that is a part of a larger read', async (t) => {
  const read = Buffer.from('before within after')
  t.equal(new Message(read, 7, 13, false, false, sender).getString(), 'within')
})

t.test('getString() decodes a text that is known to be ASCII alike, in any encoding', async (t) => {
  const read = Buffer.from('before \x00 ~\x7f after')
  for (const isAscii of [true, false]) {
    const known = new Message(read, 7, 11, false, isAscii, sender)
    t.equal(known.getString(), '\x00 ~\x7f')
    t.equal(known.getString('utf8'), '\x00 ~\x7f')
    t.equal(known.getString('hex'), '00207e7f')
    t.equal(known.getString('utf16le'), '\u2000\u7f7e')
  }
  t.equal(new Message(Buffer.from('ö'), 0, 2, false, true, sender).getString(), 'Ã¶', 'it is decoded as latin1, which is faster')
})

t.test('bytes is a view of the payload alone, which is made once', async (t) => {
  const read = Buffer.from('before within after')
  const view = new Message(read, 7, 13, false, false, sender)
  const { bytes } = view
  t.same(bytes, Buffer.from('within'))
  t.equal(bytes.buffer, read.buffer, 'it is not copied')
  t.equal(view.bytes, bytes)
  t.match(view, { length: 6, memory: read.buffer.byteLength })
  t.equal(view.getString(), 'within')
  for (const [start, end] of [[0, 6], [14, 19], [3, 3]] as const) {
    t.equal(String(new Message(read, start, end, false, false, sender).bytes), 'before within after'.slice(start, end))
  }
})

t.test('memory is what the message keeps alive: all memory that its payload is a part of', async (t) => {
  const read = Buffer.from(new ArrayBuffer(1000), 100, 500)
  t.equal(new Message(read, 7, 13, false, false, sender).memory, 1000)
})

t.test('moveTo() copies the payload, which the message has in other memory then, and tells where it ends there', async (t) => {
  for (const isViewed of [false, true]) {
    const read = Buffer.from('before within after')
    const moved = new Message(read, 7, 13, false, true, sender)
    if (isViewed) t.equal(moved.bytes.length, 6)
    const memory = Buffer.alloc(100)
    t.equal(moved.moveTo(memory, 20), 26)
    read.fill(0)
    t.match(moved, { length: 6, memory: memory.buffer.byteLength })
    t.equal(moved.getString(), 'within')
    t.equal(String(moved.bytes), 'within')
    t.equal(moved.bytes.buffer, memory.buffer)
    t.equal(memory.toString('latin1').replaceAll('\0', ''), 'within', 'nothing else is copied')
  }
})

t.test('json() parses the payload, and throws a SyntaxError where it is not JSON', async (t) => {
  t.same(message('{"a":[1,null,"ü"]}').json(), { a: [1, null, 'ü'] })
  t.same(new Message(Buffer.from('before {"a":1}'), 7, 14, false, true, sender).json(), { a: 1 })
  t.equal(message('null').json(), null)
  for (const text of ['', '{', 'undefined']) t.throws(() => message(text).json(), SyntaxError, text)
})

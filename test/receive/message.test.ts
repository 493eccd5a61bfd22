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

t.test('json() parses the payload, and throws a SyntaxError where it is not JSON', async (t) => {
  t.same(message('{"a":[1,null,"ü"]}').json(), { a: [1, null, 'ü'] })
  t.equal(message('null').json(), null)
  for (const text of ['', '{', 'undefined']) t.throws(() => message(text).json(), SyntaxError, text)
})

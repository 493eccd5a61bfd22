import t from 'tap'
import { readAcceptOptions, type AcceptOptions } from '../../lib/upgrade/accept-options.js'

const BAD_OPTION = { code: 'FST_WSA_BAD_OPTION' }

const read = (options: unknown, offered?: string, replyHeaders = {}) =>
  readAcceptOptions(options as AcceptOptions | undefined, offered === undefined ? {} : { 'sec-websocket-protocol': offered }, replyHeaders)

t.test('without options the ws server chooses the subprotocol, there is no identifier, and nothing is added to the 101', async (t) => {
  for (const options of [undefined, {}, { subprotocol: undefined, identifier: undefined, headers: undefined }]) {
    t.same(read(options), { subprotocol: undefined, identifier: null, headerLines: [] })
  }
})

t.test('without options the headers of the reply are added to the 101', async (t) => {
  t.same(read(undefined, undefined, { 'x-a': '1' }).headerLines, ['x-a: 1'])
  t.same(read({}, undefined, { 'x-a': '1' }).headerLines, ['x-a: 1'])
})

t.test('subprotocol: one that the client offered, or null for none', async (t) => {
  t.equal(read({ subprotocol: 'b' }, 'a, b').subprotocol, 'b')
  t.equal(read({ subprotocol: null }, 'a, b').subprotocol, false)
  t.equal(read({ subprotocol: undefined }, 'a, b').subprotocol, undefined)
})

t.test('subprotocol: one that the client did not offer is refused with what it offered', async (t) => {
  t.throws(() => read({ subprotocol: 'c' }, 'a, b'), { code: 'FST_WSA_SUBPROTOCOL_NOT_OFFERED', statusCode: 400, message: /"c".*"a, b"/ })
  t.throws(() => read({ subprotocol: 'A' }, 'a'), { code: 'FST_WSA_SUBPROTOCOL_NOT_OFFERED' }, 'the comparison is case-sensitive')
  t.throws(() => read({ subprotocol: 'c' }), { code: 'FST_WSA_SUBPROTOCOL_NOT_OFFERED' })
})

t.test('identifier: a string that is not empty, or null for none', async (t) => {
  t.equal(read({ identifier: 'ada' }).identifier, 'ada')
  t.equal(read({ identifier: null }).identifier, null)
})

t.test('options of another kind are refused, with their name and their value', async (t) => {
  const bad: [unknown, RegExp][] = [
    [null, /options.*null/],
    ['a', /options.*'a'/],
    [new Map(), /options.*Map/],
    [{ subProtocol: 'a' }, /subProtocol.*such as subprotocol/],
    [{ subprotocol: '' }, /subprotocol.*''/],
    [{ subprotocol: 5 }, /subprotocol.*5/],
    [{ identifier: '' }, /identifier.*''/],
    [{ identifier: 5 }, /identifier.*5/],
    [{ headers: null }, /headers.*null/],
    [{ headers: new Headers() }, /headers.*a plain object/],
    [{ headers: { 'x-a': undefined } }, /headers\["x-a"\].*undefined/],
    [{ headers: { 'x-a': [null] } }, /headers\["x-a"\].*null/],
    [{ headers: { 'x-a': Symbol('a') } }, /headers\["x-a"\].*Symbol/],
    [{ headers: { 'x-a': 'a\r\nx-b: c' } }, /headers\["x-a"\].*valid in a header/],
    [{ headers: { 'x a': 'a' } }, /headers\["x a"\].*valid in a header/]
  ]
  for (const [options, message] of bad) t.throws(() => read(options), { ...BAD_OPTION, message }, message.source)
})

t.test('headers: an array becomes several lines, and a number is written as it is', async (t) => {
  t.same(read({ headers: { 'x-a': ['1', '2'], 'x-b': 3 } }).headerLines, ['x-a: 1', 'x-a: 2', 'x-b: 3'])
})

t.test('headers: a header of the call replaces the one of the reply, whatever their case, and cookies add up', async (t) => {
  const replyHeaders = { 'x-a': 'reply', 'x-b': 'reply', 'set-cookie': ['a=1', 'b=2'] }
  t.same(
    read({ headers: { 'X-A': 'call', 'Set-Cookie': 'c=3' } }, undefined, replyHeaders).headerLines,
    ['x-b: reply', 'set-cookie: a=1', 'set-cookie: b=2', 'X-A: call', 'Set-Cookie: c=3'])
})

for (const name of ['connection', 'keep-alive', 'Transfer-Encoding', 'upgrade', 'content-length', 'sec-websocket-accept', 'Sec-WebSocket-Protocol']) {
  t.test(`headers: ${name}, which cannot be on a 101, is left out where the reply has it and refused where the call has it`, async (t) => {
    t.same(read(undefined, undefined, { [name]: '1', 'x-a': '1' }).headerLines, ['x-a: 1'])
    t.throws(() => read({ headers: { [name]: '1' } }), { ...BAD_OPTION, message: new RegExp(name) })
  })
}

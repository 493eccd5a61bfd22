import t from 'tap'
import { assertClose, closeAskedFor, WebSocketCloseError } from '../../lib/base/close.js'

const INVALID = 'FST_WSA_INVALID_CLOSE'

t.test('assertClose() accepts exactly the codes that may go on the wire', async (t) => {
  const accepted: number[] = []
  const errors = new Set<unknown>()
  for (let code = -1; code <= 5001; code++) {
    try {
      assertClose(code, '')
      accepted.push(code)
    } catch (error) {
      errors.add((error as { code?: string }).code)
    }
  }
  const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i)
  t.same([...errors], [INVALID])
  t.same(accepted, [...range(1000, 1003), ...range(1007, 1014), ...range(3000, 4999)])
})

t.test('assertClose() refuses a code that is not an integer, and shows it', async (t) => {
  for (const code of [NaN, Infinity, 1000.5, '1000', null, undefined, {}]) {
    t.throws(() => assertClose(code as number, ''), { code: INVALID }, String(code))
  }
  t.throws(() => assertClose(1005, ''), { message: 'Cannot close with code 1005: use 1000 to 1003, 1007 to 1014, or 3000 to 4999' })
})

t.test('assertClose() limits a reason by its bytes, not its characters', async (t) => {
  for (const reason of ['', 'x'.repeat(123), 'é'.repeat(61), '😀'.repeat(30) + 'abc']) assertClose(1000, reason)
  for (const reason of ['x'.repeat(124), 'é'.repeat(62), '😀'.repeat(31)]) {
    t.throws(() => assertClose(1000, reason), { code: INVALID, message: /a reason of 124 bytes: 123 bytes/ }, reason)
  }
})

t.test('assertClose() refuses a reason that is not a string', async (t) => {
  for (const reason of [undefined, null, 5, Buffer.from('bytes')]) {
    t.throws(() => assertClose(1000, reason as unknown as string), { code: INVALID }, String(reason))
  }
})

t.test('WebSocketCloseError carries a code, a reason and a cause, and is checked when it is made', async (t) => {
  const cause = new Error('why')
  const error = new WebSocketCloseError(4000, 'enough', { cause })
  t.match(error, { name: 'WebSocketCloseError', code: 4000, reason: 'enough', cause })
  t.ok(error instanceof Error)
  t.match(error.message, /4000 \(enough\)$/)
  t.match(new WebSocketCloseError(4000), { reason: '', message: /4000$/ })
  t.throws(() => new WebSocketCloseError(1006), { code: INVALID })
  t.throws(() => new WebSocketCloseError(4000, 'x'.repeat(124)), { code: INVALID })
})

t.test('closeAskedFor() gives the code and the reason of a WebSocketCloseError', async (t) => {
  class Mine extends WebSocketCloseError {}
  t.same(closeAskedFor(new WebSocketCloseError(4000, 'mine')), { code: 4000, reason: 'mine' })
  t.same(closeAskedFor(new Mine(4001)), { code: 4001, reason: '' })
})

t.test('closeAskedFor() gives nothing for any other value that was thrown, and does not throw itself', async (t) => {
  const changed = (values: object) => Object.defineProperties(new WebSocketCloseError(4000), Object.getOwnPropertyDescriptors(values))
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  const others: [string, unknown][] = [
    ['an error', new Error('failed')],
    ['an object of the same shape', { name: 'WebSocketCloseError', code: 4000, reason: '' }],
    ['undefined', undefined],
    ['null', null],
    ['a number', 4000],
    ['a code that was changed to one that may not be sent', changed({ code: 1006 })],
    ['a reason that was changed to a long one', changed({ reason: 'x'.repeat(124) })],
    ['a code that cannot be read', changed({ get code () { throw new Error('unreadable') } })],
    ['a revoked proxy', proxy]
  ]
  for (const [name, thrown] of others) t.equal(closeAskedFor(thrown), undefined, name)
})

import Fastify, { type FastifyBaseLogger } from 'fastify'
import t from 'tap'
import { logForeign, readForeign } from '../../lib/base/log.js'
import { captureLog } from '../fixtures/log.js'
import { oddThrows } from '../fixtures/odd-throws.js'

/** What Fastify's logger writes for an error. */
function lineOf (err: unknown, options = {}) {
  const { lines, logger } = captureLog()
  logForeign(Fastify({ logger: { ...logger, ...options } }).log, 'error', { err, cause: 'peer' }, 'it failed')
  return lines
}

t.test('an error that can be serialised is logged as it is', async (t) => {
  t.match(lineOf(new TypeError('odd')), [{ level: 50, msg: 'it failed', cause: 'peer', err: { type: 'TypeError', message: 'odd', stack: /log\.test/ } }])
})

t.test('an error that cannot be serialised is logged with what can be read of it, and the rest of the line', async (t) => {
  const frozen = Object.freeze(Object.assign(new TypeError('odd'), { code: 'E_ODD' }))
  t.match(lineOf(frozen), [{
    level: 50,
    msg: 'it failed, with an error that cannot be serialised',
    cause: 'peer',
    err: { type: 'TypeError', message: 'odd', code: 'E_ODD', stack: /log\.test/ }
  }])
  const unreadable = Object.defineProperty(new Error(), 'message', { get () { throw new Error() } })
  t.match(lineOf(unreadable), [{ msg: /cannot be serialised/, err: { name: 'Error' } }])
})

t.test('what is logged of an error that cannot be serialised is cut short', async (t) => {
  const [line] = lineOf(Object.freeze(new Error('x'.repeat(1024 * 1024))))
  t.match(line, { err: { message: /^x{4096}$/ } })
  t.ok(JSON.stringify(line).length < 20_000)
})

t.test('a serialiser of the application that throws is left out', async (t) => {
  const serializers = { err () { throw new Error('no') } }
  t.match(lineOf(new Error('odd'), { serializers }), [{ level: 50, msg: 'it failed, with an error that cannot be serialised' }])
})

t.test('logForeign() never throws, whatever is logged and whatever the logger does', async (t) => {
  for (const [what, make] of Object.entries(oddThrows)) t.equal(lineOf(make()).length, 1, what)
  const broken = { error () { throw new Error('no') } } as unknown as FastifyBaseLogger
  t.doesNotThrow(() => logForeign(broken, 'error', { err: new Error('odd') }))
})

t.test('readForeign() gives a property, or undefined where there is none or reading it throws', async (t) => {
  const cause = new Error('the cause')
  t.equal(readForeign(new Error('odd', { cause }), 'cause'), cause)
  for (const value of [undefined, null, 1, 'text', {}]) t.equal(readForeign(value, 'code'), undefined)
  t.equal(readForeign({ get code () { throw new Error('no') } }, 'code'), undefined)
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  t.equal(readForeign(proxy, 'code'), undefined)
})

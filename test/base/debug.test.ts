import t from 'tap'
import { codeOf, debug } from '../../lib/base/debug.js'
import { errors } from '../../lib/base/errors.js'

t.test('debug is off without NODE_DEBUG', async (t) => {
  t.equal(debug.enabled, false)
})

t.test('codeOf() gives the code of an error, else its name', async (t) => {
  t.equal(codeOf(new errors.FST_WSA_APP_CLOSING()), 'FST_WSA_APP_CLOSING')
  t.equal(codeOf(new TypeError('no code')), 'TypeError')
})

t.test('codeOf() never throws, whatever was thrown', async (t) => {
  for (const thrown of [undefined, null, 0, 'text', Symbol('thrown'), Object.create(null)]) t.type(codeOf(thrown), 'string')
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  t.equal(codeOf(proxy), 'an error that cannot be read')
  t.equal(codeOf({ get code () { throw new Error('getter') } }), 'an error that cannot be read')
  t.equal(codeOf({ code: Object.create(null) }), 'an error that cannot be read')
})

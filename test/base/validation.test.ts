import t from 'tap'
import { assertCancelOptions, assertNames, invalidArgument } from '../../lib/base/validation.js'

t.test('an unknown name is refused with the known one that begins most like it', async (t) => {
  const names = { timeout: true, signal: true } as const
  const messageOf = (options: object) => {
    try {
      assertNames(options, names, invalidArgument)
      return null
    } catch (error) {
      return (error as Error).message
    }
  }
  t.equal(messageOf({ timeOut: 50 }), 'Invalid argument timeOut: expected a known name, such as timeout, received 50')
  t.equal(messageOf({ Sig: null }), 'Invalid argument Sig: expected a known name, such as signal, received null')
  t.match(messageOf({ constructor: 1 }), /constructor/)
  t.match(messageOf(Object.create({ timeOut: 1 })), /timeOut/, 'an inherited name counts, for it would be read')
  t.equal(messageOf({}), null)
  t.equal(messageOf({ timeout: undefined, signal: undefined }), null)
})

t.test('a number in place of the options of a call is answered with what to write', async (t) => {
  t.throws(() => assertCancelOptions(30_000 as never), { message: /expected \{ timeout: 30000 \}, received 30000$/ })
  t.throws(() => assertCancelOptions('5s' as never), { message: /expected \{ timeout: 30000 \}, received '5s'$/ })
})

import t from 'tap'
import { Admission, type AdmissionLimits } from '../../lib/upgrade/admission.js'

const TOO_MANY = { code: 'FST_WSA_TOO_MANY_CONNECTIONS', statusCode: 503 }
const DUPLICATE = { code: 'FST_WSA_DUPLICATE_IDENTIFIER', statusCode: 409 }

/** An admission beside connections that a test opens by name. */
function start (limits: Partial<AdmissionLimits>) {
  const open = new Map<string, object>()
  return { open, admission: new Admission({ maxConnections: Infinity, duplicateIdentifier: 'replace', ...limits }, open) }
}

t.test('admit() refuses an upgrade above maxConnections, counting open connections and upgrades that are being accepted', async (t) => {
  const { open, admission } = start({ maxConnections: 2 })
  open.set('a', {})
  const ticket = admission.admit(null)
  t.throws(() => admission.admit(null), TOO_MANY)
  ticket.release()
  admission.admit(null)
  t.throws(() => admission.admit(null), TOO_MANY)
})

t.test('admit() counts an upgrade once when it has become a connection and its ticket is released', async (t) => {
  const { open, admission } = start({ maxConnections: 2 })
  admission.admit('a').release()
  open.set('a', {})
  admission.admit('b')
  t.throws(() => admission.admit('c'), TOO_MANY)
})

t.test('release() of a ticket that is released already gives no second place back', async (t) => {
  const { admission } = start({ maxConnections: 2 })
  const ticket = admission.admit(null)
  admission.admit(null)
  ticket.release()
  ticket.release()
  admission.admit(null)
  t.throws(() => admission.admit(null), TOO_MANY)
})

t.test("admit() with duplicateIdentifier 'reject' refuses an identifier of an open connection, and of an upgrade that is being accepted", async (t) => {
  const { open, admission } = start({ duplicateIdentifier: 'reject' })
  const ticket = admission.admit('a')
  t.throws(() => admission.admit('a'), DUPLICATE)
  ticket.release()
  admission.admit('a').release()
  open.set('a', {})
  t.throws(() => admission.admit('a'), DUPLICATE)
  admission.admit('b')
})

t.test('an upgrade that is refused for its identifier reserves no place', async (t) => {
  const { open, admission } = start({ maxConnections: 2, duplicateIdentifier: 'reject' })
  open.set('a', {})
  t.throws(() => admission.admit('a'), DUPLICATE)
  admission.admit('b')
})

t.test("admit() with duplicateIdentifier 'replace' takes an identifier that is in use", async (t) => {
  const { open, admission } = start({})
  open.set('a', {})
  admission.admit('a')
  admission.admit('a')
})

t.test('admit() never takes two upgrades without an identifier for duplicates', async (t) => {
  const { admission } = start({ duplicateIdentifier: 'reject' })
  admission.admit(null)
  admission.admit(null)
})

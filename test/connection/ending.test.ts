import t from 'tap'
import type { CloseCause, CloseInfo } from '../../lib/base/close.js'
import { Ending } from '../../lib/connection/ending.js'

const frame = (code: number, reason = '') => ({ code, reason })

/** Each end by what is known of it: the code and reason from ws, and our own close frame. */
const ends: [name: string, fromWs: { code: number, reason: string }, sent: { code: number, reason: string } | undefined, expected: object][] = [
  ['the peer closed, and we answered', frame(4001, 'bye'), frame(4001, 'bye'), { code: 4001, reason: 'bye', wasClean: true }],
  ['the peer answered our close', frame(4000, 'mine'), frame(4000, 'mine'), { code: 4000, reason: 'mine', wasClean: true }],
  ['the peer answered our close with a code of its own', frame(1000, 'theirs'), frame(4000, 'mine'), { code: 1000, reason: 'theirs', wasClean: true }],
  ['the close frame of the peer had no code', frame(1005), frame(1005), { code: 1005, reason: '', wasClean: true }],
  ['the peer closed, and no answer went out', frame(1001, 'leaving'), undefined, { code: 1001, reason: 'leaving', wasClean: false }],
  ['our close was not answered', frame(1006), frame(4000, 'mine'), { code: 4000, reason: 'mine', wasClean: false }],
  ['no close frame passed either way', frame(1006), undefined, { code: 1006, reason: '', wasClean: false }]
]

for (const [name, fromWs, sent, expected] of ends) {
  t.test(`describe(): ${name}`, async (t) => {
    const ending = new Ending()
    ending.cause = 'local'
    ending.sentClose = sent
    t.same(ending.describe(fromWs.code, fromWs.reason, null, 0, 0), { ...expected, cause: 'local', unread: 0, unsent: 0 })
  })
}

t.test('describe() passes on the cause and the counts, and has an error only where there was one', async (t) => {
  const causes: CloseCause[] = ['peer', 'keep-alive', 'shutdown', 'terminated']
  for (const cause of causes) {
    const ending = new Ending()
    ending.cause = cause
    const info = ending.describe(1006, '', null, 3, 2)
    t.same(info, { code: 1006, reason: '', wasClean: false, cause, unread: 3, unsent: 2 })
    t.notOk('error' in info)
    t.equal(ending.info, info)
  }
  const ending = new Ending()
  ending.error = new Error('read ECONNRESET')
  t.equal(ending.describe(1006, '', null, 0, 0).error, ending.error)
  t.equal(ending.describe(1006, '', null, 0, 0).cause, 'connection-lost', 'unless something else is known')
})

t.test('describe() has the error that broke the transport, unless ws has told one, or our own end of the transport caused it', async (t) => {
  const broken = new Error('read ECONNRESET')
  t.equal(new Ending().describe(1006, '', broken, 0, 0).error, broken)
  const known = new Ending()
  known.error = new Error('invalid frame')
  t.equal(known.describe(1006, '', broken, 0, 0).error, known.error)
  t.notOk('error' in new Ending().describe(1006, '', Object.assign(new Error('write'), { code: 'ECANCELED' }), 0, 0))
  const unreadable = Object.defineProperty(new Error('unreadable'), 'code', { get () { throw new Error('no') } })
  t.equal(new Ending().describe(1006, '', unreadable, 0, 0).error, unreadable)
})

t.test('a close frame that was answered unseen, as on Bun, is the close of the peer', async (t) => {
  t.match(new Ending().describe(4000, 'bye', null, 0, 0), { code: 4000, reason: 'bye', cause: 'peer', wasClean: true })
})

const INFO: CloseInfo = { code: 1001, reason: '', wasClean: true, cause: 'peer', unread: 0, unsent: 0 }

t.test('closed resolves when the end is announced, and for those who ask later', async (t) => {
  const ending = new Ending()
  const { closed } = ending
  t.equal(ending.closed, closed, 'it is one promise')
  ending.info = INFO
  ending.announce(INFO)
  t.equal(await closed, INFO)

  const late = new Ending()
  late.info = INFO
  late.announce(INFO)
  t.equal(await late.closed, INFO)
})

t.test('signal aborts when the end is announced, with an AbortError whose cause is the CloseInfo', async (t) => {
  const ending = new Ending()
  const { signal } = ending
  t.equal(signal.aborted, false)
  ending.info = INFO
  ending.announce(INFO)
  t.match(signal.reason, { name: 'AbortError', code: 'ABORT_ERR' })
  t.equal(signal.reason.cause, INFO)
  t.match(signal.reason.message, /1001 \(peer\)/)

  const late = new Ending()
  late.info = INFO
  t.equal(late.signal.reason.cause, INFO, 'a signal that is made after the end has aborted already')
})

t.test('isReasonOf() knows what a handler throws because signal has aborted', async (t) => {
  const ending = new Ending()
  t.equal(ending.isReasonOf(undefined), false, 'nobody has asked for the signal')
  const { signal } = ending
  t.equal(ending.isReasonOf(undefined), false, 'it has not aborted')
  ending.announce(INFO)
  t.equal(ending.isReasonOf(signal.reason), true)
  t.equal(ending.isReasonOf(new Error('fetch failed', { cause: signal.reason })), true)
  const unreadable = { get cause () { throw new Error('unreadable') } }
  for (const other of [undefined, null, 1, new Error('other'), new Error('other', { cause: INFO }), unreadable]) t.equal(ending.isReasonOf(other), false)
})

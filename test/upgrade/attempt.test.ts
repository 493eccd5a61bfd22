import t, { type Test } from 'tap'
import type { AsyncWebSocket } from '../../lib/connection/async-web-socket.js'
import { UpgradeAttempt } from '../../lib/upgrade/attempt.js'
import { ignore, neverVerified, startExchange, type ExchangeOptions } from '../fixtures/upgrade-exchange.js'

/** An attempt whose handler runs. */
function start (t: Test, options: ExchangeOptions = {}) {
  const started = startExchange(t, options)
  const { context, events, exchange, reply, request } = started
  const owner = { isInHandler: true, attemptOnAccept: () => { events.push('attemptOnAccept') } }
  const attempt = new UpgradeAttempt(context, exchange, owner)
  attempt.reply = reply
  const accept = (acceptOptions = {}): Promise<AsyncWebSocket> =>
    attempt.accept(request, acceptOptions, () => { events.push('onOpen') })
  return { ...started, attempt, accept, owner }
}

t.test('an accepted upgrade is announced in order, and its place is given back', async (t) => {
  const { accept, collection, context, events } = start(t, { options: { maxConnections: 1 } })
  const connection = await accept({ identifier: 'ada' })
  t.same(events, ['hijack', 'add', 'attemptOnAccept', 'connection', 'onOpen'])
  t.equal(connection.identifier, 'ada')
  t.equal(collection.size, 0)
  t.doesNotThrow(() => context.admission.admit(null))
})

t.test('accept() called again gives the same promise and ignores its options', async (t) => {
  const { accept } = start(t)
  const opening = accept()
  t.equal(accept({ identifier: 5 }), opening)
  await opening
})

t.test('after options that are refused, accept() may be called with others', async (t) => {
  const { attempt, accept } = start(t)
  await t.rejects(accept({ identifier: '' }), { code: 'FST_WSA_BAD_OPTION' })
  t.equal(attempt.opening, undefined)
  t.equal((await accept({ identifier: 'ada' })).identifier, 'ada')
})

t.test('accept() is refused where no handler has the request', async (t) => {
  const { accept, owner, request } = start(t)
  owner.isInHandler = false
  await t.rejects(accept(), { code: 'FST_WSA_NOT_IN_HANDLER' })
  Object.assign(request.routeOptions, { config: {}, url: '/early' })
  await t.rejects(accept(), { code: 'FST_WSA_ROUTE_TOO_EARLY', message: /\/early/ })
})

t.test('accept() is refused once reply.send() was called, also while its hooks still run', async (t) => {
  const { attempt, accept } = start(t)
  attempt.replyOnSend()
  await t.rejects(accept(), { code: 'FST_WSA_REPLY_ALREADY_SENT' })
})

t.test('accept() is refused when the client has left', async (t) => {
  const { accept, socket } = start(t)
  socket.destroy()
  await t.rejects(accept(), { code: 'FST_WSA_CLIENT_GONE' })
})

t.test('accept() is refused while the app closes', async (t) => {
  const { accept, lifecycle } = start(t)
  lifecycle.beginClosing()
  await t.rejects(accept(), { code: 'FST_WSA_APP_CLOSING' })
})

t.test('accept() waits for the rule of the origin, and checks again what may have changed meanwhile', async (t) => {
  const origin = async () => true
  const headers = { origin: 'https://a.test' }
  t.ok(await start(t, { headers, options: { origin } }).accept())
  await t.rejects(start(t, { headers, options: { origin: async () => false } }).accept(), { code: 'FST_WSA_ORIGIN_REFUSED' })
  await t.rejects(start(t, { headers, options: { origin: async () => { throw new Error('no database') } } }).accept(), { message: 'no database' })

  const { attempt, accept } = start(t, { headers, options: { origin } })
  const opening = accept()
  attempt.replyOnSend()
  await t.rejects(opening, { code: 'FST_WSA_REPLY_ALREADY_SENT' })
})

t.test('an upgrade that the app refuses while it closes gets a 503, and what accepts it later gets the same error', async (t) => {
  const { attempt, accept, exchange } = start(t)
  attempt.refuse()
  t.equal(exchange.response.statusCode, 503)
  t.equal(attempt.isEnded, true)
  await t.rejects(accept(), { code: 'FST_WSA_APP_CLOSING' })
})

t.test('the app refuses no upgrade that is being answered, or that the ws server has', async (t) => {
  const answering = start(t)
  answering.attempt.replyOnSend()
  const handedOver = start(t, { verifyClient: neverVerified })
  handedOver.accept().catch(ignore)
  for (const { attempt, exchange } of [answering, handedOver]) {
    attempt.refuse()
    t.equal(exchange.response.headersSent, false)
    t.equal(attempt.isEnded, false)
  }
})

t.test('a timeout rejects an accept() that is under way', async (t) => {
  const { attempt, accept } = start(t, { verifyClient: neverVerified })
  const opening = accept()
  t.equal(attempt.exchangeOnTimeout(), true)
  await t.rejects(opening, { code: 'FST_WSA_UPGRADE_TIMEOUT' })
})

t.test('a client that leaves rejects an accept() that is under way, and gives its place back', async (t) => {
  const { attempt, accept, context } = start(t, { options: { maxConnections: 1 }, verifyClient: neverVerified })
  const opening = accept()
  t.throws(() => context.admission.admit(null), { code: 'FST_WSA_TOO_MANY_CONNECTIONS' })
  attempt.exchangeOnClose(false)
  await t.rejects(opening, { code: 'FST_WSA_CLIENT_GONE' })
  t.doesNotThrow(() => context.admission.admit(null))
})

t.test('a fault that ws finds in the handshake rejects accept(), and the request can still be answered', async (t) => {
  const { attempt, accept, exchange } = start(t, { verifyClient: neverVerified })
  const opening = accept()
  attempt.serverOnClientError(new Error('no'))
  await t.rejects(opening, { code: 'FST_WSA_BAD_HANDSHAKE', message: /no$/ })
  t.equal(exchange.response.headersSent, false)
})

t.test('a listener that throws while a connection is announced rejects accept(), and its socket is destroyed', async (t) => {
  const { accept, context, socket } = start(t)
  context.server.on('connection', () => { throw new Error('listener') })
  await t.rejects(accept(), { message: 'listener' })
  t.equal(socket.destroyed, true)
})

t.test('a foreign plugin that takes the socket ends the attempt', async (t) => {
  const { context, exchange } = start(t)
  let take = ignore
  context.foreignPlugins = [{ exposeSocket (_raw, _socket, _head, onTake) { take = onTake } }]
  const attempt = new UpgradeAttempt(context, exchange, { isInHandler: false, attemptOnAccept: ignore })
  take()
  attempt.watch()
  t.equal(exchange.socket.listenerCount('drain'), 0, 'it is not watched')
})

t.test('isEndedBy() is true for what only says that the client left, or that we have ended it', async (t) => {
  const { attempt, accept, socket } = start(t)
  t.equal(attempt.isEndedBy(Object.assign(new Error(), { code: 'FST_WSA_APP_CLOSING' })), false)
  attempt.refuse()
  await accept().catch((error: unknown) => t.equal(attempt.isEndedBy(error), true))
  const namesake = Object.assign(new Error('other'), { name: 'FST_WSA_APP_CLOSING' })
  const unreadable = { get code () { throw new Error('no') } }
  for (const error of [new Error('other'), namesake, unreadable, null, undefined, 5]) t.equal(attempt.isEndedBy(error), false)
  socket.destroy()
  const gone = start(t)
  gone.socket.destroy()
  await gone.accept().catch((error: unknown) => t.equal(attempt.isEndedBy(error), true))
})

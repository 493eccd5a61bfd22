import t, { type Test } from 'tap'
import { WebSocketCloseError } from '../../lib/base/close.js'
import { AsyncWebSocket } from '../../lib/connection/async-web-socket.js'
import { closeAsFailed, getWebSocketAsync, HandlerRun, routeUpgrade, upgradeOf } from '../../lib/upgrade/handler-run.js'
import type { FastifyInstance } from 'fastify'
import { ignore, neverVerified, startExchange, type ExchangeOptions } from '../fixtures/upgrade-exchange.js'

/** The handler run of an upgrade whose hooks have run. */
function start (t: Test, options: ExchangeOptions = {}) {
  const started = startExchange(t, options)
  const { context, exchange, reply, request, events } = started
  let run!: HandlerRun // set by the router
  routeUpgrade({
    routing (raw: typeof exchange.raw) {
      run = upgradeOf(raw) as HandlerRun
      run.requestOnStart(request, reply)
    }
  } as unknown as FastifyInstance, context, exchange)
  const accept = () => getWebSocketAsync.call(request)
  const closes: unknown[] = []
  const acceptAndWatch = async () => {
    const connection = await accept()
    const { closeWith } = connection
    connection.closeWith = (...args) => {
      closes.push(args)
      closeWith.apply(connection, args)
    }
    return connection
  }
  return { ...started, run, accept, acceptAndWatch, closes, events }
}

t.test('what a handler returns without having accepted is the answer, with a promise and without', async (t) => {
  t.equal(await start(t).run.run(async () => 'answer'), 'answer')
  t.equal(start(t).run.run(() => 'answer'), 'answer')
  t.equal(start(t).run.run(() => undefined), undefined)
})

t.test('what a handler throws without having accepted is for Fastify, with a promise and without', async (t) => {
  const error = new Error('failed')
  await t.rejects(async () => start(t).run.run(async () => { throw error }), error)
  t.throws(() => start(t).run.run(() => { throw error }), error)
})

t.test('after acceptance a return closes with the defaults, and the answer to Fastify is empty as soon as it was accepted', async (t) => {
  const { run, acceptAndWatch, closes } = start(t)
  let connection: AsyncWebSocket | undefined
  t.equal(await run.run(async () => {
    connection = await acceptAndWatch()
    return 'ignored'
  }), undefined)
  await run.lifetime
  t.ok(connection instanceof AsyncWebSocket)
  t.same(closes, [[undefined, undefined, 'handler-returned']])
  t.equal(run.attempt, undefined)
})

t.test('after acceptance a throw closes with 1011, or with the code of a WebSocketCloseError, and is logged after that', async (t) => {
  for (const [error, close, line] of [
    [new Error('failed'), [1011, '', 'handler-failed'], 'error: websocket handler failed'],
    [new WebSocketCloseError(4000, 'bye'), [4000, 'bye', 'handler-failed'], 'debug: websocket handler closed the connection']
  ] as const) {
    const { run, acceptAndWatch, closes, events } = start(t)
    await run.run(async () => {
      await acceptAndWatch()
      throw error
    })
    await run.lifetime
    t.same(closes, [close])
    t.same(events.slice(-2), [line, 'untrackHandler'])
  }
})

t.test('an error that only says that the connection has ended is no failure', async (t) => {
  const events: unknown[] = []
  const log = { debug: (_line: unknown, message: string) => events.push(message) }
  const connection = { closeWith: () => events.push('close'), isDueToEnd: () => true, request: { log } } as unknown as AsyncWebSocket
  closeAsFailed(connection, new Error('aborted'))
  t.same(events, ['close', 'websocket handler failed'])
})

t.test('a connection whose socket the application listens to stays open when the handler returns', async (t) => {
  const { run, request, closes } = start(t)
  await run.run(async () => {
    const connection = await run.accept(request, undefined, ignore)
    connection.closeWith = (...args) => { closes.push(args) }
  })
  await run.lifetime
  t.same(closes, [])
})

t.test('a handler that returns while the upgrade is being accepted: the connection is closed, or what it returned is the answer', async (t) => {
  const headers = { origin: 'https://a.test' }
  for (const isAllowed of [true, false]) {
    let decide: (isAllowed: boolean) => void = ignore
    const { run, accept, events } = start(t, { headers, options: { origin: () => new Promise((resolve) => { decide = resolve }) } })
    let opening: Promise<AsyncWebSocket> | undefined
    const answer = run.run(async () => {
      opening = accept()
      return 'answer'
    })
    await run.lifetime
    decide(isAllowed)
    t.equal(await answer, isAllowed ? undefined : 'answer')
    if (isAllowed) t.match(await opening?.then(({ closed }) => closed), { cause: 'handler-returned' })
    else await t.rejects(Promise.resolve(opening), { code: 'FST_WSA_ORIGIN_REFUSED' })
    t.ok(events.includes('untrackHandler'))
  }
})

t.test('a handler without a promise that has begun to accept gives Fastify no answer', async (t) => {
  const { run, accept } = start(t)
  t.equal(run.run(() => {
    accept()
    return 'ignored'
  }), undefined)
})

t.test('what a handler returns after we have ended the upgrade is no answer, and the error that says so is not thrown on', async (t) => {
  const returned = start(t)
  const answer = returned.run.run(async () => { returned.exchange.refuse(); return 'late' })
  t.equal(await answer, undefined)
  const thrown = start(t)
  t.equal(await thrown.run.run(async () => {
    thrown.exchange.refuse()
    return thrown.accept()
  }), undefined)
})

t.test('accept() after acceptance gives the same connection, and lets the caller listen to it', async (t) => {
  const { run, accept, request } = start(t)
  const heard: AsyncWebSocket[] = []
  await run.run(async () => {
    const connection = await accept()
    t.equal(await run.accept(request, undefined, (connection) => heard.push(connection)), connection)
    t.same(heard, [connection])
  })
  await run.lifetime
})

t.test('getWebSocketAsync() rejects where a handler has not started, has thrown, or has called the not-found handler', async (t) => {
  const { accept } = start(t)
  await t.rejects(accept(), { code: 'FST_WSA_NOT_IN_HANDLER' })
  const thrown = start(t)
  await t.rejects(async () => thrown.run.run(async () => { throw new Error('failed') }))
  await t.rejects(thrown.accept(), { code: 'FST_WSA_NOT_IN_HANDLER' })
  const notFound = start(t)
  await notFound.run.run(async () => {
    notFound.reply.callNotFound()
    await t.rejects(notFound.accept(), { code: 'FST_WSA_NOT_IN_HANDLER' })
  })
})

t.test('getWebSocketAsync() of a request that is no upgrade rejects with 426, which names the protocol in HTTP/1', async (t) => {
  const call = (raw: object) => getWebSocketAsync.call({ method: 'GET', url: '/', raw } as never)
  await t.rejects(call({ httpVersionMajor: 1 }), { code: 'FST_WSA_UPGRADE_REQUIRED', statusCode: 426, headers: { upgrade: 'websocket' } })
  await t.rejects(call({ httpVersionMajor: 2 }), { code: 'FST_WSA_UPGRADE_REQUIRED', headers: {} })
  await t.rejects(
    call({ upgrade: true, method: 'GET', httpVersion: '1.1', headers: { upgrade: 'websocket' } }),
    { code: 'FST_WSA_UPGRADE_TAKEN', statusCode: 500 })
})

t.test('a request without a route is left to the other listeners of a shared server', async (t) => {
  const { context, exchange, reply, request, events } = startExchange(t)
  Object.assign(exchange, { isShared: true })
  Object.assign(request, { is404: true })
  const run = new HandlerRun(context, exchange)
  t.equal(run.requestOnStart(request, reply), false)
  t.same(events, ['hijack'])
  exchange.unwatch()
})

t.test('excuse() closes the connection, and warns that the handler is not waited for', async (t) => {
  const { run, accept, events } = start(t)
  let excused: AsyncWebSocket | undefined
  await run.run(async () => {
    excused = await accept()
    run.excuse()
  })
  await run.lifetime
  t.match(events.find((event) => event.startsWith('warn')), /awaits app.close\(\)/)
  t.equal(excused?.isClosed, true)
  const undecided = start(t, { verifyClient: neverVerified })
  undecided.run.excuse()
  t.match(undecided.events, [/^warn/])
})

t.test('an upgrade that cannot be routed is answered with 500', async (t) => {
  const { context, exchange, events } = startExchange(t)
  routeUpgrade({ routing () { throw new Error('no route') } } as unknown as FastifyInstance, context, exchange)
  t.equal(exchange.response.statusCode, 500)
  t.match(events, ['warn: websocket upgrade could not be routed'])
})

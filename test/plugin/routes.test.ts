import Fastify, { type FastifyReply, type FastifyRequest, type RouteHandlerMethod, type RouteOptions } from 'fastify'
import t, { type Test } from 'tap'
import { decorateRequests, eventHandler, hasResponseHooks, markAwaitable } from '../../lib/plugin/routes.js'
import { kAwaitable } from '../../lib/upgrade/attempt.js'
import { routeUpgrade, upgradeOf } from '../../lib/upgrade/handler-run.js'
import { startExchange } from '../fixtures/upgrade-exchange.js'

t.test('markAwaitable() keeps the config of the route', async (t) => {
  const route = { config: { own: 1 } } as unknown as RouteOptions
  markAwaitable(route)
  t.same(route.config, { own: 1, [kAwaitable]: true })
})

t.test('hasResponseHooks() is true for a hook of a route and for one of its scope', async (t) => {
  const none = Fastify()
  none.get('/', async () => 'answer')
  const ofRoute = Fastify()
  ofRoute.get('/', { onResponse: async () => {} }, async () => 'answer')
  const ofScope = Fastify()
  ofScope.register(async (app) => {
    app.addHook('onResponse', async () => {})
    app.get('/', async () => 'answer')
  })
  for (const [app, expected] of [[none, false], [ofRoute, true], [ofScope, true]] as const) {
    t.teardown(() => app.close())
    await app.ready()
    t.equal(hasResponseHooks(app), expected)
  }
})

t.test('a request that is no upgrade says so, and cannot be accepted', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  decorateRequests(app)
  app.get('/', async (request) => ({ isUpgrade: request.isWebSocketUpgrade }))
  app.get('/accept', async (request) => request.getWebSocketAsync())
  t.same((await app.inject('/')).json(), { isUpgrade: false })
  t.match(await app.inject('/accept'), { statusCode: 426, headers: { upgrade: 'websocket' } })
})

/** Runs an event-style handler for an upgrade, and gives what it did. */
async function runEventHandler (t: Test, wsHandler: Parameters<typeof eventHandler>[1]) {
  const { context, exchange, reply, request } = startExchange(t)
  const errors: unknown[] = []
  const handler = eventHandler(async () => 'http', wsHandler, function (error, socket) {
    errors.push(error)
    socket.terminate()
  })
  let result: unknown
  const routing = () => {
    upgradeOf(exchange.raw)?.requestOnStart(request, reply)
    result = handler.call({} as never, request, reply)
  }
  routeUpgrade({ routing } as never, context, exchange)
  await result
  return errors
}

t.test('eventHandler() accepts an upgrade, and hands its socket over before it returns', async (t) => {
  const opened: number[] = []
  const errors = await runEventHandler(t, async (socket) => { opened.push(socket.readyState) })
  t.same(opened, [1])
  t.same(errors, [])
})

t.test('eventHandler() gives the errorHandler what the handler throws, at once or later, and the errors of the socket', async (t) => {
  const error = new Error('failed')
  t.same(await runEventHandler(t, () => { throw error }), [error])
  t.same(await runEventHandler(t, async (socket) => { socket.emit('error', error) }), [error])
  const later = await runEventHandler(t, async () => { throw error })
  await new Promise(setImmediate)
  t.same(later, [error])
})

t.test('eventHandler() answers a request that is no upgrade with the HTTP handler', async (t) => {
  const handler = eventHandler(async () => 'http', () => { throw new Error('it is no upgrade') }) as RouteHandlerMethod
  t.equal(await handler.call({} as never, { raw: {} } as FastifyRequest, {} as FastifyReply), 'http')
})

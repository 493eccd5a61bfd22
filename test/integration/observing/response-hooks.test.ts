// onResponse hooks of an upgrade: tracing, access logs and request scopes end there what they began
import { once } from 'node:events'
import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify'
import t from 'tap'
import websocketAsync, { type AsyncWebSocket } from '../../../index.js'
import { buildApp, listen, needsTcp } from '../../fixtures/app.js'
import { deferred } from '../../fixtures/deferred.js'
import { captureLog, messagesOf } from '../../fixtures/log.js'
import { measureMemory } from '../../fixtures/memory.js'
import { closeFrame, connectRaw, frame, handshake, openRaw } from '../../fixtures/raw-client.js'

interface Response {
  readonly status: number
  readonly elapsed: number
  readonly isEnded: boolean
}

/** Notes with what a hook was called, and whether the connection had ended by then. */
function notedIn (responses: Response[], ended: () => boolean) {
  return async (_request: FastifyRequest, reply: FastifyReply) => {
    responses.push({ status: reply.statusCode, elapsed: reply.elapsedTime, isEnded: ended() })
  }
}

async function echo (request: FastifyRequest): Promise<void> {
  const ws = await request.getWebSocketAsync()
  for await (const message of ws) await ws.sendAsync(message.bytes)
}

const levels = ['app', 'app, added before the plugin', 'scope', 'route', 'route, added by an onRoute hook'] as const

for (const level of levels) {
  t.test(`an onResponse hook of the ${level} runs once, when the connection has ended`, async (t) => {
    const app = Fastify()
    t.teardown(() => app.close())
    let info: AsyncWebSocket['closeInfo'] = null
    const responses: Response[] = []
    const hook = notedIn(responses, () => info !== null)
    if (level === 'app, added before the plugin') app.addHook('onResponse', hook)
    await app.register(websocketAsync)
    app.webSockets.on('close', (_ws, closeInfo) => { info = closeInfo })
    if (level === 'app') app.addHook('onResponse', hook)
    if (level === 'route, added by an onRoute hook') app.addHook('onRoute', (route) => { if (route.method === 'GET') route.onResponse = hook })
    app.register(async (scope) => {
      if (level === 'scope') scope.addHook('onResponse', hook)
      scope.get('/', level === 'route' ? { onResponse: [hook] } : {}, echo)
    })
    const client = await openRaw(t, await listen(app), '/')
    client.write(frame('hello'))
    t.equal(await client.text(), 'hello')
    t.same(responses, [])
    client.write(closeFrame(1000))
    await client.closed
    await app.close()
    t.match(responses, [{ status: 101, isEnded: true }])
    t.equal(responses.length, 1)
    t.ok((responses[0]?.elapsed ?? 0) > 0)
  })
}

t.test('reply.elapsedTime in an onResponse hook is the duration of the connection', async (t) => {
  const app = await buildApp(t)
  const elapsed = deferred<number>()
  let openedAt = 0
  app.get('/', { onResponse: async (_request, reply) => elapsed.resolve(reply.elapsedTime) }, async (request) => {
    const ws = await request.getWebSocketAsync()
    openedAt = ws.openedAt
    await ws.receiveMessageAsync()
  })
  let closedAt = 0
  app.webSockets.on('close', () => { closedAt = performance.now() })
  const client = await openRaw(t, await listen(app), '/')
  while (performance.now() - openedAt < 20) await app.inject('/nowhere')
  client.write(closeFrame(1000))
  t.ok(await elapsed.promise >= closedAt - openedAt)
})

t.test('onResponse hooks run for event-style routes, however the connection ends', async (t) => {
  const app = await buildApp(t)
  const seen: string[] = []
  app.addHook('onResponse', async (request, reply) => { seen.push(`${request.url} ${reply.statusCode}`) })
  app.get('/event', { websocket: true }, (socket) => { socket.on('message', () => socket.terminate()) })
  app.get('/reply', async (request, reply) => {
    const ws = await request.getWebSocketAsync()
    await ws.receiveMessageAsync()
    return reply
  })
  app.get('/throws', async (request) => {
    await (await request.getWebSocketAsync()).receiveMessageAsync()
    throw new Error('on purpose')
  })
  app.get('/open', async (request) => { await (await request.getWebSocketAsync()).closed })
  const port = await listen(app)
  for (const url of ['/event', '/reply', '/throws']) {
    const ended = once(app.webSockets, 'close')
    const client = await openRaw(t, port, url)
    client.write(frame('go'))
    if (url !== '/event') client.write(closeFrame(1000))
    await ended
    await client.closed
  }
  const open = await openRaw(t, port, '/open')
  const closing = app.close()
  open.write(closeFrame(1001))
  await closing
  t.same(seen, ['/event 101', '/reply 101', '/throws 101', '/open 101'])
})

t.test('onResponse hooks run once for an upgrade that ends as plain HTTP', async (t) => {
  const app = await buildApp(t)
  const seen: string[] = []
  app.addHook('onResponse', async (request, reply) => { seen.push(`${request.url} ${reply.statusCode}`) })
  app.get('/', async (_request, reply) => reply.code(403).send('no'))
  const client = await connectRaw(t, await listen(app))
  client.write(handshake('/'))
  t.match(await client.all(), /^HTTP\/1.1 403 /)
  await client.closed
  t.equal((await app.inject('/')).statusCode, 403)
  t.same(seen, ['/ 403', '/ 403'])
})

t.test('what an onResponse hook throws is logged as for any request, and the others of its route do not run', async (t) => {
  const { lines, logger } = captureLog()
  const app = await buildApp(t, { app: { logger } })
  const hooks: Record<string, (() => Promise<void>) | ((request: unknown, reply: unknown, done: (error: Error) => void) => void)> = {
    '/rejects': async () => { throw new Error('on purpose') },
    '/throws': (_request, _reply, _done) => { throw new Error('on purpose') },
    '/done': (_request, _reply, done) => done(new Error('on purpose'))
  }
  for (const [path, hook] of Object.entries(hooks)) {
    app.get(path, { onResponse: [hook as () => Promise<void>, async () => t.fail('it is not run')] }, echo)
  }
  const port = await listen(app)
  for (const path of Object.keys(hooks)) {
    const client = await openRaw(t, port, path)
    client.write(closeFrame(1000))
    await client.closed
  }
  await app.close()
  const errors = lines.filter(({ msg }) => msg === 'request errored')
  t.match(errors, Object.keys(hooks).map(() => ({ level: 50, err: { message: 'on purpose' }, res: { statusCode: 101 } })))
  t.equal(errors.length, 3)
})

t.test('"request completed" is logged for a connection only where the app has onResponse hooks: once, with 101, at its end', async (t) => {
  for (const hasHooks of [false, true]) {
    const { lines, logger } = captureLog()
    const app = await buildApp(t, { app: { logger } })
    if (hasHooks) app.addHook('onResponse', async () => {})
    app.get('/', echo)
    app.get('/reply', async (request, reply) => {
      await echo(request)
      return reply
    })
    const port = await listen(app)
    for (const path of ['/', '/reply']) {
      lines.length = 0
      const client = await openRaw(t, port, path)
      client.write(frame('hello'))
      await client.text()
      t.notOk(messagesOf(lines).includes('request completed'))
      const ended = once(app.webSockets, 'close')
      client.write(closeFrame(1000))
      await ended
      await client.closed
      const completed = lines.filter(({ msg }) => msg === 'request completed')
      t.equal(completed.length, hasHooks ? 1 : 0, path)
      if (hasHooks) t.match(completed, [{ res: { statusCode: 101 }, reqId: lines[0]?.reqId, responseTime: Number }])
    }
  }
})

t.test('an app without onResponse hooks of its own has none through the plugin', async (t) => {
  const app = await buildApp(t)
  app.get('/', echo)
  app.get('/event', { websocket: true }, () => {})
  await app.ready()
  t.notMatch(app.printRoutes({ includeMeta: ['onResponse'] }), /onResponse/)
})

t.test('an open connection keeps its response only where there are onResponse hooks', needsTcp, async (t) => {
  for (const hasHooks of [false, true]) {
    const app = await buildApp(t, { app: { logger: captureLog().logger } })
    if (hasHooks) app.addHook('onResponse', async () => {})
    let kept: WeakRef<object> | undefined
    app.get('/', async (request) => {
      const ws = await request.getWebSocketAsync()
      await ws.closed
    })
    app.addHook('preHandler', async (_request, reply) => { kept = new WeakRef(reply.raw) })
    const client = await openRaw(t, await listen(app), '/')
    await measureMemory() // collects
    t.equal(kept?.deref() !== undefined, hasHooks)
    client.write(closeFrame(1000))
    await client.closed
  }
})

import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t from 'tap'
import { buildApp, listen } from '../../fixtures/app.js'
import { deferred } from '../../fixtures/deferred.js'
import { captureLog, messagesOf, type LogLine } from '../../fixtures/log.js'
import { closeFrame, connectRaw, frame, handshake, openRaw } from '../../fixtures/raw-client.js'

const WARNING = /^websocket handler awaits app\.close\(\)/

const warnings = (lines: LogLine[]) => messagesOf(lines).filter((msg) => WARNING.test(msg))

/** Ways to wait for the end of the app: the promises end when it has closed. */
const waits: Record<string, (app: FastifyInstance) => Promise<unknown>> = {
  'awaits it': async (app) => { await app.close() },
  'returns it': (app) => app.close(),
  'returns it from an async function': async (app) => app.close(),
  'awaits a function that awaits it': async (app) => { await (async () => { await nextTurn(); await app.close() })() },
  'awaits a function that returns it': async (app) => (async () => (async () => app.close())())(),
  'awaits it with others': async (app) => { await Promise.all([nextTurn(), app.close()]) },
  'awaits it, or others': async (app) => { await Promise.race([app.close(), new Promise(() => {})]) },
  'awaits what comes after it': async (app) => { await app.close().then(() => 'closed').finally(() => {}) },
  'awaits it later': async (app) => {
    const closed = app.close()
    await null
    await closed
  },
  'disposes of the app': async (app) => { await app[Symbol.asyncDispose]() }
}

/** Where a handler may do so. */
const handlers: Record<string, (app: FastifyInstance, wait: () => Promise<unknown>) => void> = {
  'a handler': (app, wait) => {
    app.get('/', async (request) => {
      const ws = await request.getWebSocketAsync()
      await ws.receiveMessageAsync()
      await wait()
    })
  },
  'an event-style handler': (app, wait) => {
    app.get('/', { websocket: true }, async (socket) => {
      await new Promise((resolve) => { socket.once('message', resolve) })
      await wait()
    })
  },
  'a handler in another scope': (app, wait) => {
    app.register(async (scope) => {
      scope.get('/', async (request) => {
        const ws = await request.getWebSocketAsync()
        await ws.receiveMessageAsync()
        await wait()
      })
    })
  }
}

for (const [handler, declare] of Object.entries(handlers)) {
  for (const [what, wait] of Object.entries(waits)) {
    t.test(`app.close() does not wait for ${handler} that ${what}`, async (t) => {
      const { lines, logger } = captureLog()
      const app = await buildApp(t, { app: { logger } })
      const closed = deferred()
      declare(app, () => wait(app))
      app.addHook('onClose', async () => { closed.resolve() })
      const client = await openRaw(t, await listen(app), '/')
      client.write(frame('close'))
      t.same(await client.close(), { code: 1001, reason: 'server shutting down' })
      client.write(closeFrame(1001))
      await closed.promise
      t.equal(warnings(lines).length, 1)
      t.match(lines.find(({ msg }) => WARNING.test(msg)), { level: 40, reqId: String })
      t.notOk(messagesOf(lines).includes('websocket shutdown timed out'))
    })
  }
}

t.test('app.close() called in a handler waits for the other handlers', async (t) => {
  const { lines, logger } = captureLog()
  const app = await buildApp(t, { app: { logger } })
  const [mayEnd, atWork] = [deferred(), deferred()]
  const events: string[] = []
  app.get('/work', async (request) => {
    const ws = await request.getWebSocketAsync()
    await ws.receiveMessageAsync()
    atWork.resolve()
    await mayEnd.promise
    events.push('the other handler')
  })
  app.get('/close', async (request) => {
    await request.getWebSocketAsync()
    await app.close()
    events.push('the handler')
  })
  app.addHook('onClose', async () => { events.push('onClose') })
  const port = await listen(app)
  const [worker, closer] = [await openRaw(t, port, '/work'), await openRaw(t, port, '/close')]
  t.match(await closer.close(), { code: 1001 })
  closer.write(closeFrame(1001))
  await closer.closed
  worker.write(frame('work'))
  mayEnd.resolve()
  t.match(await worker.close(), { code: 1001 })
  worker.write(closeFrame(1001))
  await app.close()
  await nextTurn()
  t.same(events, ['the other handler', 'onClose', 'the handler'])
  t.equal(warnings(lines).length, 1)
})

t.test('app.close() may be awaited by several handlers, also when the app is closing already', async (t) => {
  const { lines, logger } = captureLog()
  const app = await buildApp(t, { app: { logger } })
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    await ws.receiveMessageAsync() // `null`, from the second one on
    await app.close()
  })
  const port = await listen(app)
  const clients = [await openRaw(t, port, '/'), await openRaw(t, port, '/'), await openRaw(t, port, '/')]
  clients[0]?.write(frame('close'))
  for (const client of clients) {
    t.match(await client.close(), { code: 1001 })
    client.write(closeFrame(1001))
  }
  await app.close()
  t.equal(warnings(lines).length, 3)
  t.notOk(messagesOf(lines).includes('websocket shutdown timed out'))
})

t.test('app.close() does not wait for a handler that awaits it before acceptance, or after the end of the connection', async (t) => {
  for (const when of ['before', 'after'] as const) {
    const { lines, logger } = captureLog()
    const app = await buildApp(t, { app: { logger } })
    const closed = deferred()
    app.addHook('onClose', async () => { closed.resolve() })
    app.get('/', async (request) => {
      if (when === 'after') await (await request.getWebSocketAsync()).closed
      await app.close()
    })
    const client = await connectRaw(t, await listen(app))
    client.write(handshake('/'))
    t.match(await client.head(), when === 'before' ? /^HTTP\/1.1 503 / : /^HTTP\/1.1 101 /)
    if (when === 'after') client.write(closeFrame(1000))
    await closed.promise
    t.equal(warnings(lines).length, 1)
    t.notOk(messagesOf(lines).includes('websocket shutdown timed out'))
  }
})

const others: Record<string, (app: FastifyInstance, request: FastifyRequest) => void> = {
  'does not await it': (app) => { app.close() },
  'gives it a callback': (app) => { app.close(() => {}) },
  'catches what it rejects with': (app) => { app.close().catch(() => {}) },
  'leaves it to a callback': (app) => { setImmediate(async () => { await app.close() }) }
}

for (const [what, close] of Object.entries(others)) {
  t.test(`app.close() waits for a handler that calls it and ${what}`, async (t) => {
    const { lines, logger } = captureLog()
    const app = await buildApp(t, { app: { logger } })
    const events: string[] = []
    const closed = deferred()
    app.get('/', async (request) => {
      const ws = await request.getWebSocketAsync()
      close(app, request)
      t.equal(await ws.receiveMessageAsync(), null)
      await ws.closeAsync(4000)
      for (let i = 0; i < 10; i++) await nextTurn()
      events.push('handler')
    })
    app.addHook('onClose', async () => {
      events.push('onClose')
      closed.resolve()
    })
    const client = await openRaw(t, await listen(app), '/')
    t.match(await client.close(), { code: 4000 })
    client.write(closeFrame(4000))
    await closed.promise
    t.same(events, ['handler', 'onClose'])
    t.same(warnings(lines), [])
  })
}

t.test('the log at shutdown.timeout has a hint where a handler awaits app.close() in a way that is not recognised', async (t) => {
  const { lines, logger } = captureLog()
  const app = await buildApp(t, { app: { logger }, shutdown: { grace: 10, timeout: 50 } })
  app.get('/', async (request) => {
    await request.getWebSocketAsync()
    await new Promise<void>((resolve) => { app.close(resolve) })
  })
  const client = await openRaw(t, await listen(app), '/')
  await client.closed
  await app.close()
  t.match(lines.filter(({ msg }) => msg === 'websocket shutdown timed out'), [{ handlers: 1, hint: /app\.close\(\)/ }])
})

import { once } from 'node:events'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { InjectRefusedError, type AcceptOptions, type AsyncWebSocket, type CloseInfo, type InjectedWebSocket } from '../../../index.js'
import { buildApp, listen, type Options } from '../../fixtures/app.js'
import { deferred } from '../../fixtures/deferred.js'
import { captureLog } from '../../fixtures/log.js'

/** An app whose connections have the identifier that the query names. */
async function buildHall (t: Test, options: Options = {}) {
  const { lines, logger } = captureLog()
  const app = await buildApp(t, { ...options, app: { logger } })
  app.get<{ Querystring: { id?: string } }>('/', async (request) => {
    const ws = await request.getWebSocketAsync({ identifier: request.query.id })
    for await (const message of ws) await ws.sendAsync(message.getString())
  })
  app.get('/events', { websocket: true }, () => {})
  const enter = (id?: string) => app.injectWebSocketAsync(id === undefined ? '/' : `/?id=${id}`)
  return { app, lines, enter }
}

async function assertAlive (t: Test, client: InjectedWebSocket): Promise<void> {
  await client.sendAsync('alive')
  t.equal((await client.receiveMessageAsync())?.getString(), 'alive')
}

t.test('webSockets holds the connections that are open, those of event-style routes too', async (t) => {
  const { app, enter } = await buildHall(t)
  t.equal(app.webSockets.size, 0)
  t.same([...app.webSockets], [])
  const first = await enter('Ada')
  await enter()
  await app.injectWebSocketAsync('/events')
  t.same(Array.from(app.webSockets, ({ identifier }) => identifier), ['Ada', null, null], 'in the order in which they came')
  t.equal(app.webSockets.get('Ada')?.request.url, '/?id=Ada')
  t.equal(app.webSockets.get('Bob'), undefined)
  t.equal(app.webSockets.find(({ request }) => request.url === '/events')?.request.url, '/events')
  t.equal(app.webSockets.find(() => false), undefined)

  await first.closeAsync()
  t.equal(app.webSockets.get('Ada'), undefined)
  t.equal(app.webSockets.size, 2)
})

t.test("'open' comes before the handler has its connection, 'close' when it has ended", async (t) => {
  const app = await buildApp(t)
  const heard: unknown[] = []
  const ended = deferred<void>()
  app.webSockets.on('open', (ws) => { heard.push(['open', ws.identifier, app.webSockets.size, ws.isClosed]) })
  app.webSockets.on('close', (ws, info) => {
    heard.push(['close', ws.identifier, app.webSockets.size, info === ws.closeInfo, info.code])
    ended.resolve()
  })
  app.get('/', async (request) => {
    await request.getWebSocketAsync({ identifier: 'Ada' })
    heard.push('accepted')
  })
  await app.injectWebSocketAsync('/')
  await ended.promise
  t.same(heard, [['open', 'Ada', 1, false], 'accepted', ['close', 'Ada', 0, true, 1000]])
})

t.test('what a listener throws is logged, and harms neither the connection nor other listeners', async (t) => {
  const { app, lines, enter } = await buildHall(t)
  const heard: string[] = []
  for (const name of ['open', 'close'] as const) {
    app.webSockets.once(name, () => { throw new Error(`bad listener for ${name}`) })
    app.webSockets.on(name, () => { heard.push(name) })
  }
  const client = await enter('Ada')
  await assertAlive(t, client)
  const ws = app.webSockets.get('Ada') as AsyncWebSocket
  await client.closeAsync()
  t.match(await ws.closed, { code: 1000 })
  t.same(heard, ['open', 'close'])
  t.same(lines.filter(({ msg }) => msg.startsWith('listener')).map(({ msg, err }) => [msg, (err as Error).message]), [
    ["listener of webSockets for 'open' failed", 'bad listener for open'],
    ["listener of webSockets for 'close' failed", 'bad listener for close']
  ])
})

t.test('closeAllAsync() closes all there are, and tells how each has ended', async (t) => {
  const { app, enter } = await buildHall(t)
  t.same(await app.webSockets.closeAllAsync(), [])
  const clients = [await enter(), await enter(), await app.injectWebSocketAsync('/events')]
  await t.rejects(app.webSockets.closeAllAsync(1005), { code: 'FST_WSA_INVALID_CLOSE' })
  t.equal(app.webSockets.size, 3)

  const infos = await app.webSockets.closeAllAsync(4000, 'the hall closes')
  t.match(infos, Array(3).fill({ code: 4000, cause: 'local', wasClean: true }))
  for (const { closed } of clients) t.match(await closed, { code: 4000, reason: 'the hall closes' })
  t.equal(app.webSockets.size, 0)
  await t.rejects(app.webSockets.closeAllAsync(1005), { code: 'FST_WSA_INVALID_CLOSE' }, 'where there is none, too')
  await assertAlive(t, await enter())
})

t.test('an identifier that is in use: the old connection is replaced', async (t) => {
  const { app, enter } = await buildHall(t)
  const [old, other] = [await enter('Ada'), await enter('Bob')]
  old.ignoreClose()
  const oldConnection = app.webSockets.get('Ada') as AsyncWebSocket
  const young = await enter('Ada')
  t.notOk(app.webSockets.get('Ada') === oldConnection, 'the identifier is the new one’s at once')
  t.equal(oldConnection.isClosed, true)
  old.terminate()
  t.match(await oldConnection.closed, { code: 4409, reason: 'replaced', cause: 'replaced' })
  t.equal(app.webSockets.get('Ada')?.isClosed, false, 'and stays it when the old one has ended')
  await assertAlive(t, young)
  await assertAlive(t, other)
})

t.test('the client that was replaced sees 4409', async (t) => {
  const { enter } = await buildHall(t)
  const old = await enter('Ada')
  await enter('Ada')
  t.match(await old.closed, { code: 4409, reason: 'replaced', wasClean: true })
})

t.test("an identifier that is in use, with duplicateIdentifier 'reject': the new connection gets a 409", async (t) => {
  const { app, enter } = await buildHall(t, { duplicateIdentifier: 'reject' })
  const first = await enter('Ada')
  const error = await enter('Ada').catch((error: unknown) => error) as InjectRefusedError
  t.type(error, InjectRefusedError)
  t.match(error.json(), { statusCode: 409, code: 'FST_WSA_DUPLICATE_IDENTIFIER' })
  await assertAlive(t, first)
  await assertAlive(t, await enter('Bob'))

  first.ignoreClose()
  app.webSockets.get('Ada')?.closeAsync()
  await assertAlive(t, await enter('Ada')) // one that is closing does not keep it
  first.terminate()
})

t.test('an identifier that is empty or not a string is refused before the upgrade', async (t) => {
  const app = await buildApp(t)
  for (const identifier of ['', 42, {}]) {
    app.get(`/${JSON.stringify(identifier)}`, async (request) => {
      await request.getWebSocketAsync({ identifier } as AcceptOptions)
    })
  }
  for (const name of ['""', '42', '{}']) {
    const error = await app.injectWebSocketAsync(`/${encodeURIComponent(name)}`).catch((error: unknown) => error) as InjectRefusedError
    t.match(error.json(), { statusCode: 500, code: 'FST_WSA_BAD_OPTION' }, name)
  }
})

// The `ws` server may take its time to accept: many are then being accepted together
type VerifyClient = (info: unknown, accept: (isAccepted: boolean) => void) => void
const verifiers: Record<string, VerifyClient | undefined> = {
  'at once': undefined,
  later: (_info, accept) => { setImmediate(accept, true) }
}

for (const [name, verifyClient] of Object.entries(verifiers)) {
  for (const duplicateIdentifier of ['replace', 'reject'] as const) {
    t.test(`of 100 connections with one identifier, accepted ${name}, exactly one lives: ${duplicateIdentifier}`, async (t) => {
      const { app } = await buildHall(t, { duplicateIdentifier, options: verifyClient === undefined ? {} : { verifyClient } })
      const infos: CloseInfo[] = []
      const replaced = deferred<void>()
      app.webSockets.on('close', (_ws, info) => { if (infos.push(info) === 99) replaced.resolve() })
      const port = await listen(app)
      const statuses: (number | undefined)[] = []
      const sockets = Array.from({ length: 100 }, () => new WebSocket(`ws://127.0.0.1:${port}/?id=Ada`))
      const lonely = deferred<void>()
      let ended = 0
      for (const socket of sockets) {
        socket.on('unexpected-response', (_request, response) => {
          statuses.push(response.statusCode)
          response.resume().on('end', () => socket.terminate())
        })
        socket.on('error', () => {}) // of those that were refused
        socket.on('close', () => { if (++ended === 99) lonely.resolve() })
      }
      await lonely.promise
      if (duplicateIdentifier === 'replace') await replaced.promise
      t.equal(app.webSockets.size, 1)
      t.equal(app.webSockets.get('Ada')?.isClosed, false)
      if (duplicateIdentifier === 'reject') t.same(statuses, Array(99).fill(409))
      else t.match(infos, Array(99).fill({ code: 4409, cause: 'replaced' }))
      const [last] = sockets.filter(({ readyState }) => readyState === WebSocket.OPEN) as [WebSocket]
      last.send('alive')
      const [bytes] = await once(last, 'message')
      t.equal(String(bytes), 'alive')
      last.close()
    })
  }
}

t.test('an upgrade that ends while it is being accepted sets its identifier free', async (t) => {
  const begun = deferred<() => void>()
  let isFirst = true
  const verifyClient: VerifyClient = (_info, accept) => {
    if (isFirst) begun.resolve(() => accept(true))
    else accept(true)
    isFirst = false
  }
  const { app, enter } = await buildHall(t, { duplicateIdentifier: 'reject', upgradeTimeout: 100, options: { verifyClient } })
  const port = await listen(app)
  const connection = once(app.server, 'connection')
  const socket = new WebSocket(`ws://127.0.0.1:${port}/?id=Ada`)
  socket.on('error', () => {})
  const accept = await begun.promise
  const [serverSide] = await connection
  t.match(await enter('Ada').catch((error: unknown) => error), { statusCode: 409 })
  await once(serverSide, 'close')
  await assertAlive(t, await enter('Ada'))
  accept()
})

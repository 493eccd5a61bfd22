import { once } from 'node:events'
import { connect } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import type { CloseInfo, WebSocketAsyncOptions } from '../../../index.js'
import { buildApp, listen, needsTcp, type Options } from '../../fixtures/app.js'
import { deferred } from '../../fixtures/deferred.js'
import { fakeClock } from '../../fixtures/fake-clock.js'
import { captureLog, type LogLine } from '../../fixtures/log.js'
import { closeFrame, connectRaw, frame, handshake, openRaw, RawClient } from '../../fixtures/raw-client.js'

/** The same echo, written both ways. */
const PATHS = ['/awaited', '/events']

type Origin = NonNullable<WebSocketAsyncOptions['origin']>

async function buildEcho (t: Test, options: Options = {}) {
  const { lines, logger } = captureLog()
  const app = await buildApp(t, { ...options, app: { ...options.app, logger } })
  app.get('/awaited', async (request) => {
    const ws = await request.getWebSocketAsync()
    for await (const message of ws) await ws.sendAsync(message.getString())
  })
  app.get('/events', { websocket: true }, (socket) => { socket.on('message', (data) => socket.send(String(data))) })
  const closed: Promise<unknown>[] = []
  app.server.on('connection', (socket) => closed.push(new Promise((resolve) => socket.on('close', resolve))))
  return { app, lines, serverOnClose: () => Promise.all(closed) }
}

async function ask (t: Test, port: number, path: string, headers: Parameters<typeof handshake>[1] = {}): Promise<RawClient> {
  const client = await connectRaw(t, port)
  client.write(handshake(path, headers))
  return client
}

async function assertAccepted (t: Test, client: RawClient, name: string): Promise<void> {
  t.match(await client.head(), /^HTTP\/1.1 101 /, name)
  client.write(frame('in'))
  t.equal(await client.text(), 'in', name)
  client.socket.destroy()
}

async function assertRefused (t: Test, client: RawClient, statusCode: number, code: string, name: string): Promise<void> {
  const [head, body] = (await client.all()).split('\r\n\r\n') as [string, string]
  t.match(head, new RegExp(`^HTTP/1.1 ${statusCode} `), name)
  t.match(JSON.parse(body), { statusCode, code }, name)
}

async function untilAborted ({ signal }: FastifyRequest): Promise<void> {
  await once(signal, 'abort')
}

/** Unlike `once()` it does not mind an error. */
function closeOf (socket: WebSocket | undefined): Promise<unknown> {
  return new Promise((resolve) => { socket?.on('close', resolve) })
}

function refusals (lines: LogLine[], code: string): LogLine[] {
  return lines.filter(({ err }) => (err as { code?: string } | undefined)?.code === code)
}

const matrix: Record<string, { option: Origin | undefined, cases: (port: number) => [origin: string | undefined, isAccepted: boolean][] }> = {
  'same-origin': {
    option: undefined,
    cases: (port) => [
      [undefined, true],
      [`http://127.0.0.1:${port}`, true],
      [`https://127.0.0.1:${port}`, true],
      [`http://localhost:${port}`, false],
      [`http://127.0.0.1.evil.test:${port}`, false],
      [`http://127.0.0.1:${port + 1}`, false],
      ['http://127.0.0.1', false],
      ['null', false],
      ['', false],
      [`http://127.0.0.1:${port}, http://evil.test`, false]
    ]
  },
  "'*'": { option: '*', cases: () => [[undefined, true], ['http://evil.test', true], ['null', true]] },
  'an origin': {
    option: 'https://a.test',
    cases: (port) => [[undefined, true], ['https://a.test', true], ['http://a.test', false], ['https://a.test:8443', false], [`http://127.0.0.1:${port}`, false]]
  },
  'a list': {
    option: ['same-origin', 'https://a.test', /\.b\.test$/],
    cases: (port) => [[undefined, true], [`http://127.0.0.1:${port}`, true], ['https://a.test', true], ['https://x.b.test', true], ['https://c.test', false], ['null', false]]
  },
  'a RegExp': { option: /^https:\/\/\w+\.a\.test$/g, cases: () => [['https://x.a.test', true], ['https://y.a.test', true], ['https://a.test', false], [undefined, true]] },
  'a function': { option: (origin) => origin === 'https://a.test', cases: () => [['https://a.test', true], ['https://b.test', false], [undefined, true]] },
  'an async function': {
    option: async (origin, { headers }) => {
      await nextTurn()
      return origin === headers['x-expected']
    },
    cases: () => [['https://a.test', true], ['https://b.test', false], [undefined, true]]
  },
  'a function that returns something else than true': { option: (() => 'yes') as unknown as () => boolean, cases: () => [['https://a.test', false], [undefined, true]] }
}

for (const [name, { option, cases }] of Object.entries(matrix)) {
  t.test(`origin: ${name}`, async (t) => {
    const { app, lines, serverOnClose } = await buildEcho(t, { origin: option })
    const port = await listen(app)
    const Host = `127.0.0.1:${port}`
    for (const path of PATHS) {
      for (const [origin, isAccepted] of cases(port)) {
        const what = `${path} for ${origin}`
        const connections: unknown[] = []
        const count = (socket: unknown) => connections.push(socket)
        app.websocketServer.on('connection', count)
        lines.length = 0
        const client = await ask(t, port, path, { Host, Origin: origin, 'X-Expected': 'https://a.test' })
        if (isAccepted) {
          await assertAccepted(t, client, what)
          t.equal(connections.length, 1)
        } else {
          await assertRefused(t, client, 403, 'FST_WSA_ORIGIN_REFUSED', what)
          t.same(connections, [], 'there was no connection')
          const [line] = refusals(lines, 'FST_WSA_ORIGIN_REFUSED')
          t.equal(line?.level, 30)
          for (const value of [`"${origin}"`, `"${Host}"`, 'trustProxy']) t.ok(line?.msg.includes(value), `${line?.msg} has ${value}`)
        }
        app.websocketServer.off('connection', count)
      }
    }
    await serverOnClose()
    t.equal(app.websocketServer.clients.size, 0)
  })
}

t.test('a client that is refused and does not leave is cut off', needsTcp, async (t) => {
  const { app, serverOnClose } = await buildEcho(t)
  const socket = connect({ port: await listen(app), host: '127.0.0.1', allowHalfOpen: true })
  t.teardown(() => socket.destroy())
  const client = new RawClient(socket)
  client.write(handshake('/awaited', { Origin: 'http://evil.test' }), frame('and more'))
  t.match(await client.head(), /^HTTP\/1.1 403 /)
  await serverOnClose()
})

t.test('origin: X-Forwarded-Host counts only where trustProxy trusts the sender', async (t) => {
  const ours = 'http://internal.test:8080'
  const theirs = 'https://public.test'
  const cases: [trustProxy: boolean | string, origin: string, forwarded: string | undefined, isAccepted: boolean][] = [
    [true, theirs, 'public.test', true],
    [true, theirs, undefined, false],
    [true, ours, undefined, true],
    [true, ours, 'public.test', false],
    ['127.0.0.1', theirs, 'public.test', true],
    ['10.0.0.0/8', theirs, 'public.test', false],
    ['10.0.0.0/8', ours, 'public.test', true],
    [false, theirs, 'public.test', false],
    [false, ours, 'public.test', true]
  ]
  for (const [trustProxy, origin, forwarded, isAccepted] of cases) {
    const { app, lines } = await buildEcho(t, { app: { trustProxy } })
    const port = await listen(app)
    for (const path of PATHS) {
      const name = `${path}, ${origin}, trustProxy ${trustProxy}, forwarded ${forwarded}`
      lines.length = 0
      const client = await ask(t, port, path, { Host: 'internal.test:8080', Origin: origin, 'X-Forwarded-Host': forwarded })
      if (isAccepted) {
        await assertAccepted(t, client, name)
      } else {
        await assertRefused(t, client, 403, 'FST_WSA_ORIGIN_REFUSED', name)
        const host = trustProxy === true && forwarded !== undefined ? forwarded : 'internal.test:8080'
        t.ok(refusals(lines, 'FST_WSA_ORIGIN_REFUSED')[0]?.msg.includes(`"${origin}" may not connect to "${host}"`))
      }
    }
  }
})

for (const [name, origin] of [['rejects', async () => { throw new Error('no database') }], ['throws', () => { throw new Error('no database') }]] as const) {
  t.test(`origin: a function that ${name} accepts nobody`, async (t) => {
    const { app, lines, serverOnClose } = await buildEcho(t, { origin })
    const port = await listen(app)
    for (const path of PATHS) {
      const client = await ask(t, port, path, { Origin: 'https://a.test' })
      const answer = await client.all()
      t.match(answer, /^HTTP\/1.1 500 /)
      t.match(answer, /"message":"no database"/)
    }
    await serverOnClose()
    t.equal(app.websocketServer.clients.size, 0)
    t.same(lines.filter(({ level }) => level >= 50).map(({ msg }) => msg), ['no database', 'no database'])
  })
}

for (const path of PATHS) {
  t.test(`origin: a function that never settles is ended by upgradeTimeout, ${path}`, async (t) => {
    const { app, lines, serverOnClose } = await buildEcho(t, { origin: () => new Promise(() => {}), upgradeTimeout: 50 })
    const client = await ask(t, await listen(app), path, { Origin: 'https://a.test' })
    t.equal(await client.all(), '')
    await serverOnClose()
    t.equal(refusals(lines, 'FST_WSA_UPGRADE_TIMEOUT').length, 1)
    t.same(lines.filter(({ level }) => level >= 40), [])
    t.equal(app.websocketServer.clients.size, 0)
  })

  t.test(`origin: a function that never settles is ended by app.close(), ${path}`, async (t) => {
    const asked = deferred()
    const { app, lines, serverOnClose } = await buildEcho(t, {
      origin () {
        asked.resolve()
        return new Promise(() => {})
      }
    })
    const client = await ask(t, await listen(app), path, { Origin: 'https://a.test' })
    await asked.promise
    await Promise.all([app.close(), assertRefused(t, client, 503, 'FST_WSA_APP_CLOSING', path)])
    await serverOnClose()
    t.same(lines.filter(({ level }) => level >= 40), [])
  })
}

t.test('origin: what a function allows after the client left, or after the time, is not opened', async (t) => {
  for (const end of ['left', 'late'] as const) {
    const asked = deferred()
    const answer = deferred<boolean>()
    const outcome = deferred<unknown>()
    const { app, serverOnClose } = await buildEcho(t, {
      upgradeTimeout: end === 'late' ? 50 : 10_000,
      origin () {
        asked.resolve()
        return answer.promise
      }
    })
    app.get('/', (request) => request.getWebSocketAsync().catch(outcome.resolve))
    const client = await ask(t, await listen(app), '/', { Origin: 'https://a.test' })
    await asked.promise
    if (end === 'left') client.socket.resetAndDestroy()
    await serverOnClose()
    answer.resolve(true)
    t.match(await outcome.promise, { code: end === 'left' ? 'FST_WSA_CLIENT_GONE' : 'FST_WSA_UPGRADE_TIMEOUT' })
    await app.close()
    t.equal(app.websocketServer.clients.size, 0)
  }
})

t.test('origin: under injectWS there is no host, and nothing throws', async (t) => {
  const cases: [options: Options, headers: Record<string, string>, isAccepted: boolean][] = [
    [{}, {}, true],
    [{}, { origin: 'http://a.test' }, false],
    [{}, { origin: 'null' }, false],
    [{}, { origin: 'http://a.test', host: 'a.test' }, true],
    [{ origin: '*' }, { origin: 'http://a.test' }, true],
    [{ origin: 'https://b.test' }, { origin: 'http://a.test' }, false],
    [{ app: { trustProxy: true } }, {}, true],
    [{ app: { trustProxy: true } }, { origin: 'http://a.test' }, false],
    [{ app: { trustProxy: true } }, { origin: 'http://a.test', 'x-forwarded-host': 'a.test' }, false]
  ]
  for (const [options, headers, isAccepted] of cases) {
    const { lines, logger } = captureLog()
    const { app: appOptions, ...rest } = options
    // Fastify's own log of a request asks for its address, which throws under injectWS where a proxy is trusted
    const app = await buildApp(t, { ...rest, app: { ...appOptions, logger: { ...logger, serializers: { req: () => ({}) } } } })
    app.get('/awaited', async (request) => { await request.getWebSocketAsync() })
    app.get('/events', { websocket: true }, (socket) => { socket.close() })
    await app.ready()
    for (const path of PATHS) {
      const name = `${path} ${JSON.stringify(headers)} ${JSON.stringify(options)}`
      if (isAccepted) {
        const socket = await app.injectWS(path, { headers })
        t.equal(socket.readyState <= WebSocket.CLOSED, true, name)
        socket.terminate()
      } else {
        await t.rejects(app.injectWS(path, { headers }), { message: 'Unexpected server response: 403' }, name)
        t.match(refusals(lines, 'FST_WSA_ORIGIN_REFUSED').at(-1), { level: 30, msg: new RegExp(`the origin "${headers.origin}" may not connect to ""`) })
        t.equal(app.websocketServer.clients.size, 0)
      }
    }
  }
})

t.test('maxConnections: above it 503 before the upgrade, and room again after one has left', async (t) => {
  const { app, lines } = await buildEcho(t, { maxConnections: 2 })
  const port = await listen(app)
  const clients = [await openRaw(t, port, '/awaited'), await openRaw(t, port, '/events')]
  for (const leaver of clients) {
    for (const path of PATHS) {
      await assertRefused(t, await ask(t, port, path), 503, 'FST_WSA_TOO_MANY_CONNECTIONS', path)
      t.match(refusals(lines, 'FST_WSA_TOO_MANY_CONNECTIONS').at(-1)?.msg, / 2 connections /)
    }
    t.equal(app.websocketServer.clients.size, 2)
    const [oldest] = app.websocketServer.clients
    const left = closeOf(oldest)
    leaver.write(closeFrame(1000))
    await left
    const next = await openRaw(t, port, leaver === clients[0] ? '/events' : '/awaited')
    next.write(frame('room'))
    t.equal(await next.text(), 'room')
  }
  t.equal(app.websocketServer.clients.size, 2)
})

t.test('maxConnections: upgrades that end otherwise take no room', async (t) => {
  const { app } = await buildEcho(t, { maxConnections: 1, upgradeTimeout: 20 })
  app.get('/never', untilAborted)
  app.get('/refused', async (_request, reply) => reply.code(401).send())
  const port = await listen(app)
  for (const [path, headers] of [['/never', {}], ['/refused', {}], ['/nowhere', {}], ['/awaited', { Origin: 'null' }], ['/awaited', { 'Sec-WebSocket-Key': 'x' }]] as const) {
    await (await ask(t, port, path, headers)).closed
  }
  await assertAccepted(t, await ask(t, port, '/awaited'), 'the only one')
})

t.test('maxConnections: of two that come together one is accepted', async (t) => {
  const answer = deferred<boolean>()
  let asked = 0
  const { app } = await buildEcho(t, {
    maxConnections: 1,
    origin () {
      if (++asked === 2) answer.resolve(true)
      return answer.promise
    }
  })
  const port = await listen(app)
  const clients = await Promise.all([0, 1].map(() => ask(t, port, '/awaited', { Origin: 'https://a.test' })))
  const heads = await Promise.all(clients.map((client) => client.head()))
  t.same(heads.map((head) => head.slice(9, 12)).sort(), ['101', '503'])
  t.equal(app.websocketServer.clients.size, 1)
})

t.test('maxConnections: an upgrade that a slow verifyClient is still asked about takes room', async (t) => {
  const asked = deferred<(isAllowed: boolean) => void>()
  const verifyClient = (_info: unknown, done: (isAllowed: boolean) => void) => { asked.resolve(done) }
  const { app } = await buildEcho(t, { maxConnections: 1, upgradeTimeout: 2_000, options: { verifyClient } })
  const port = await listen(app)
  const first = await ask(t, port, '/awaited')
  const allow = await asked.promise
  await assertRefused(t, await ask(t, port, '/awaited'), 503, 'FST_WSA_TOO_MANY_CONNECTIONS', 'the second')
  allow(true)
  await assertAccepted(t, first, 'the first')
})

t.test('upgradeTimeout: counts from the request on, whatever it waits in', async (t) => {
  const upgradeTimeout = 100
  const { app, lines, serverOnClose } = await buildEcho(t, { upgradeTimeout })
  let stages: string[] = []
  let isReached = deferred()
  const stage = (name: string) => async (request: FastifyRequest) => {
    stages.push(name)
    isReached.resolve()
    if (request.url === '/both' && name === 'preHandler') await mayGoOn.promise
    else await untilAborted(request)
  }
  const mayGoOn = deferred()
  app.get('/hook', { onRequest: stage('onRequest') }, async () => 'never')
  app.get('/handler', stage('handler'))
  app.get('/both', { preHandler: stage('preHandler') }, stage('handler'))
  const port = await listen(app)
  const clock = fakeClock(t)
  for (const path of ['/hook', '/handler', '/both']) {
    stages = []
    isReached = deferred()
    const client = await connectRaw(t, port)
    let isEnded = false
    client.closed.then(() => { isEnded = true })
    client.write(handshake(path))
    await isReached.promise
    clock.tick(60)
    mayGoOn.resolve()
    clock.tick(upgradeTimeout - 60 - 1)
    for (let i = 0; i < 10; i++) await nextTurn()
    t.notOk(isEnded, `${path} has its whole time`)
    clock.tick(1)
    t.equal(await client.all(), '', path)
  }
  t.same(stages, ['preHandler', 'handler'])
  await serverOnClose()
  t.match(refusals(lines, 'FST_WSA_UPGRADE_TIMEOUT'), Array(3).fill({ level: 30, err: { message: / 100 ms/ } }))
  await app.close()
})

t.test('upgradeTimeout: an accepted connection, an answer and Infinity have no such limit', async (t) => {
  const { app } = await buildEcho(t, { upgradeTimeout: 50 })
  const mayEnd = deferred()
  app.get('/slow', (_request, reply) => {
    reply.hijack()
    reply.raw.writeHead(200, { 'content-length': 2 }).write('a')
    mayEnd.promise.then(() => reply.raw.end('b'))
  })
  app.get('/never', untilAborted)
  const port = await listen(app)
  const client = await openRaw(t, port, '/awaited')
  const slow = await ask(t, port, '/slow')
  t.match(await slow.head(), /^HTTP\/1.1 200 /)
  await (await ask(t, port, '/never')).closed // it was the last to come, so the time has passed for all
  mayEnd.resolve()
  t.equal(await slow.all(), 'ab')
  client.write(frame('still here'))
  t.equal(await client.text(), 'still here')

  const unlimited = await buildApp(t, { upgradeTimeout: Infinity })
  unlimited.get('/', async (request) => {
    clock.tick(60_000)
    const ws = await request.getWebSocketAsync()
    await ws.sendAsync('in')
  })
  const unlimitedPort = await listen(unlimited)
  const clock = fakeClock(t)
  t.equal(await (await openRaw(t, unlimitedPort, '/')).text(), 'in')
})

t.test('maxPayload: a message of that size is received, one byte more closes with 1009', async (t) => {
  const cases: [name: string, options: Options, limit: number][] = [
    ["the app's bodyLimit", { app: { bodyLimit: 1_000 } }, 1_000],
    ['the option', { app: { bodyLimit: 1_000 }, maxPayload: 2_000 }, 2_000],
    ['options.maxPayload', { app: { bodyLimit: 1_000 }, options: { maxPayload: 500 } }, 500]
  ]
  for (const [name, options, limit] of cases) {
    const { app, lines } = await buildEcho(t, options)
    const port = await listen(app)
    for (const path of PATHS) {
      const overdraw = {
        'in one frame': [frame('y'.repeat(limit + 1))],
        'in fragments': [frame('y'.repeat(limit), { fin: false }), frame('y', { opcode: 0 })]
      }
      for (const [how, frames] of Object.entries(overdraw)) {
        const client = await openRaw(t, port, path)
        client.write(frame('x'.repeat(limit)))
        t.equal((await client.text()).length, limit, `${name}: exactly as much is fine, ${path}`)
        lines.length = 0
        const [socket] = app.websocketServer.clients
        const closed = closeOf(socket)
        client.write(...frames)
        t.match(await client.close(), { code: 1009 }, `${name}: one more, ${how}, ${path}`)
        client.write(closeFrame(1009))
        await client.closed
        await closed
        t.match(lines.filter(({ msg }) => msg === 'websocket closed'), [{ code: 1009 }])
      }
    }
  }
})

t.test('maxPayload is 1 MiB where nothing was said', needsTcp, async (t) => {
  const app = await buildApp(t)
  const ended = deferred<CloseInfo>()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    ws.closed.then(ended.resolve)
    for await (const { length } of ws) await ws.sendAsync(String(length))
  })
  const client = new WebSocket(`ws://127.0.0.1:${await listen(app)}/`)
  t.teardown(() => client.terminate())
  await once(client, 'open')
  client.send(Buffer.alloc(1024 * 1024))
  t.equal(String((await once(client, 'message'))[0]), '1048576')
  const closed = once(client, 'close')
  client.send(Buffer.alloc(1024 * 1024 + 1))
  t.equal((await closed)[0], 1009)
  t.match(await ended.promise, { code: 1009, cause: 'protocol-error', error: { code: 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH' } })
})

import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import type { WebSocketAsyncOptions } from '../../../index.js'
import { buildApp, listen } from '../../fixtures/app.js'
import { captureLog, type LogLine } from '../../fixtures/log.js'
import { oddThrows } from '../../fixtures/odd-throws.js'
import { closeFrame, connectRaw, frame, handshake, openRaw, type RawClient } from '../../fixtures/raw-client.js'

type Throw = () => never

/** A moment at which something of the application throws, and what the client then has to see. */
interface Moment {
  options?: (thrower: Throw) => WebSocketAsyncOptions
  routes: (app: FastifyInstance, thrower: Throw) => void
  /** Returns when the connection has ended. */
  client: (t: Test, port: number, app: FastifyInstance) => Promise<void>
  /** How the one line begins that the log has about it; none where the error is Fastify's to handle. */
  line?: string
}

const origin = 'http://a.test'

/** Answers a close frame with that code, and sees the connection end. */
async function seesClose (client: RawClient, code: number): Promise<void> {
  const close = await client.close()
  if (close.code !== code) throw new Error(`closed with ${close.code} in place of ${code}`)
  client.write(closeFrame(code))
  await client.closed
}

const sees = (code: number) => async (t: Test, port: number) => seesClose(await openRaw(t, port, '/'), code)

const seesEnd = (headers = {}) => async (t: Test, port: number) => {
  const client = await connectRaw(t, port)
  client.write(handshake('/', headers))
  await client.closed
}

const isCutOff = async (t: Test, port: number) => {
  const client = await openRaw(t, port, '/')
  t.equal(await client.all(), '', 'without a word')
}

const staysOpen = async (t: Test, port: number) => {
  const client = await openRaw(t, port, '/')
  client.write(frame('still here'))
  t.equal(await client.text(), 'still here')
  client.write(closeFrame(1000))
  await client.closed
}

const echo = async (request: FastifyRequest) => {
  const ws = await request.getWebSocketAsync()
  for await (const message of ws) await ws.sendAsync(message.getString())
}

const listeners = (name: 'open' | 'close' | 'gap', isAsync: boolean) => (app: FastifyInstance, thrower: Throw) => {
  app.get('/', echo)
  app.webSockets.on(name, isAsync ? async () => { await nextTurn(); thrower() } : thrower)
}

const handler = (...handlers: ((request: FastifyRequest, thrower: Throw) => unknown)[]) => (app: FastifyInstance, thrower: Throw) => {
  app.get('/', (request) => handlers[0]!(request, thrower))
}

const socketIsGone = ({ raw }: FastifyRequest) => new Promise((resolve) => { raw.socket.once('close', resolve) })

const failed = 'websocket handler failed'

const moments: Record<string, Moment> = {
  'by a handler without a promise, before acceptance': { routes: handler((_request, thrower) => thrower()), client: seesEnd() },
  'by a handler without a promise, while it is decided': {
    options: () => ({ origin: async () => nextTurn(true) }),
    routes: handler((request, thrower) => { request.getWebSocketAsync(); thrower() }),
    client: seesEnd({ origin })
  },
  'by a handler without a promise, after acceptance': {
    routes: handler((request, thrower) => { request.getWebSocketAsync(); thrower() }),
    client: sees(1011),
    line: failed
  },
  'by the promise of a handler, before acceptance': { routes: handler(async (_request, thrower) => { await nextTurn(); thrower() }), client: seesEnd() },
  'by the promise of a handler, after acceptance': {
    routes: handler(async (request, thrower) => { await request.getWebSocketAsync(); thrower() }),
    client: sees(1011),
    line: failed
  },
  'by the promise of a handler, in a later turn': {
    routes: handler(async (request, thrower) => { await request.getWebSocketAsync(); await nextTurn(); thrower() }),
    client: sees(1011),
    line: failed
  },
  'by reading what a handler returned, after acceptance': {
    routes: handler((request, thrower) => {
      request.getWebSocketAsync()
      return Object.defineProperty({}, 'then', { get: thrower })
    }),
    client: sees(1011),
    line: failed
  },
  'by the promise of a handler, after upgradeTimeout': {
    options: () => ({ upgradeTimeout: 5 }),
    routes: handler(async (request, thrower) => {
      await socketIsGone(request)
      thrower()
    }),
    client: seesEnd()
  },
  'by the promise of a handler, after the client has left': {
    routes: handler(async (request, thrower) => {
      request.server.server.emit('asked')
      await socketIsGone(request)
      request.server.server.emit('left')
      thrower()
    }),
    client: async (t, port, app) => {
      const client = await connectRaw(t, port)
      const [asked, left] = [once(app.server, 'asked'), once(app.server, 'left')]
      client.write(handshake('/'))
      await asked
      client.socket.resetAndDestroy()
      await left
    }
  },
  'by the promise of a handler, after the 503 of an app that closes': {
    routes: handler(async (request, thrower) => {
      request.server.server.emit('asked')
      await socketIsGone(request)
      thrower()
    }),
    client: async (t, port, app) => {
      const asked = once(app.server, 'asked')
      const client = await connectRaw(t, port)
      client.write(handshake('/'))
      await asked
      await app.close()
      await client.closed
    }
  },
  'by the promise of a handler, while it closes': {
    routes: handler(async (request, thrower) => {
      const ws = await request.getWebSocketAsync()
      ws.closeAsync(4000)
      thrower()
    }),
    client: sees(4000),
    line: failed
  },
  'by the promise of a handler, after the end': {
    routes: handler(async (request, thrower) => {
      const ws = await request.getWebSocketAsync()
      ws.signal.throwIfAborted()
      await ws.closed
      thrower()
    }),
    client: async (t, port) => {
      const client = await openRaw(t, port, '/')
      client.write(closeFrame(4000))
      await seesClose(client, 4000)
    },
    line: failed
  },
  'and the transport destroyed with it': {
    routes: handler(async (request, thrower) => {
      const ws = await request.getWebSocketAsync()
      try {
        thrower()
      } catch (error) {
        request.raw.socket.destroy(error as Error)
      }
      await ws.closed
    }),
    client: async (t, port) => {
      const client = await openRaw(t, port, '/')
      await client.closed
    }
  },
  'by an event-style handler': {
    routes: (app, thrower) => { app.get('/', { websocket: true }, () => thrower()) },
    client: isCutOff,
    line: ''
  },
  'by the promise of an event-style handler': {
    routes: (app, thrower) => { app.get('/', { websocket: true }, async () => { await nextTurn(); thrower() }) },
    client: isCutOff,
    line: ''
  },
  'by an event-style handler that has taken the wrapper': {
    routes: (app, thrower) => { app.get('/', { websocket: true }, async (_socket, request) => { await request.getWebSocketAsync(); thrower() }) },
    client: sees(1011),
    line: failed
  },
  'by the errorHandler': {
    options: (thrower) => ({ errorHandler: thrower }),
    routes: (app) => { app.get('/', { websocket: true }, () => { throw new Error('first') }) },
    client: sees(1011),
    line: failed
  },
  'by the promise of the errorHandler': {
    options: (thrower) => ({ errorHandler: (async () => { await nextTurn(); thrower() }) as () => void }),
    routes: (app) => { app.get('/', { websocket: true }, () => { throw new Error('first') }) },
    client: sees(1011),
    line: failed
  },
  'by the errorHandler, for an error of the socket': {
    options: (thrower) => ({ errorHandler: thrower }),
    routes: (app) => { app.get('/', { websocket: true }, () => {}) },
    client: async (t, port) => {
      const client = await openRaw(t, port, '/')
      client.write(frame('not masked', { isMasked: false }))
      await seesClose(client, 1002)
    },
    line: failed
  },
  "by a listener for 'open'": { routes: listeners('open', false), client: staysOpen, line: "listener of webSockets for 'open' failed" },
  "by the promise of a listener for 'open'": { routes: listeners('open', true), client: staysOpen, line: "listener of webSockets for 'open' failed" },
  "by a listener for 'close'": { routes: listeners('close', false), client: staysOpen, line: "listener of webSockets for 'close' failed" },
  "by the promise of a listener for 'close'": { routes: listeners('close', true), client: staysOpen, line: "listener of webSockets for 'close' failed" },
  "by a listener for 'gap'": {
    routes: listeners('gap', false),
    client: async (_t, _port, app) => { app.webSockets.gap({ topic: 'a', missed: 1 }) },
    line: "listener of webSockets for 'gap' failed"
  },
  'by the origin function': { options: (thrower) => ({ origin: thrower }), routes: handler(echo), client: seesEnd({ origin }) },
  'by the promise of the origin function': { options: (thrower) => ({ origin: async () => { await nextTurn(); return thrower() } }), routes: handler(echo), client: seesEnd({ origin }) },
  'by preClose': { options: (thrower) => ({ preClose: () => thrower() }), routes: handler(echo), client: seesShutdown, line: 'websocket preClose failed' },
  'by preClose with a callback': { options: (thrower) => ({ preClose: (_done) => thrower() }), routes: handler(echo), client: seesShutdown, line: 'websocket preClose failed' },
  'by the promise of preClose': { options: (thrower) => ({ preClose: async () => { await nextTurn(); thrower() } }), routes: handler(echo), client: seesShutdown, line: 'websocket preClose failed' }
}

async function seesShutdown (t: Test, port: number, app: FastifyInstance): Promise<void> {
  const client = await openRaw(t, port, '/')
  const closed = app.close()
  await seesClose(client, 1001)
  await closed
}

const failures = (lines: LogLine[], line: string) => lines.filter(({ level, msg }) => level >= 40 && String(msg).startsWith(line))

// With 4, each moment has a quarter of the throws, and the next moment another quarter
const SHARE = Number(process.env.THROWS_SHARE ?? 1)

for (const [i, [name, { options, routes, client, line }]] of Object.entries(moments).entries()) {
  t.test(`whatever is thrown ${name}, the connection ends and the process goes on`, async (t) => {
    const throws = Object.entries(oddThrows).filter((_, j) => (i + j) % SHARE === 0)
    for (const [what, make] of throws) {
      const thrower = () => { throw make() }
      const { lines, logger } = captureLog()
      const app = await buildApp(t, { app: { logger }, ...options?.(thrower) })
      routes(app, thrower)
      await client(t, await listen(app), app)
      await app.close()
      await nextTurn()
      t.equal(app.webSockets.size, 0, what)
      if (line !== undefined) t.equal(failures(lines, line).length, 1, `${what} is logged once`)
    }
    t.same(process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout'), [], 'no timer is left')
  })
}

import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { buildApp, listen } from '../../fixtures/app.js'
import { deferred } from '../../fixtures/deferred.js'
import { captureLog, type LogLine } from '../../fixtures/log.js'
import { closeFrame, connectRaw, frame, handshake, type RawClient } from '../../fixtures/raw-client.js'

// A connection that is reset at any stage: the process survives, the handler ends, one line in the log, nothing pending

interface Stage {
  name: string
  /** Declares `/`, whose handler resolves `reached` at its stage and `ended` when it has ended. */
  declare (app: FastifyInstance, reached: () => void, ended: (error?: unknown) => void): void
  speak? (client: RawClient): void | Promise<void>
  line: Partial<LogLine> | RegExp
}

const CLIENT_LEFT = { msg: 'websocket upgrade ended: the client left before it was answered', level: 30 }
const LOST = { msg: 'websocket closed', level: 30, code: 1006, cause: 'connection-lost' }

/** Resolves once the server has seen the reset. */
function clientToLeave (request: { raw: { once (event: string, listener: () => void): void } }): Promise<void> {
  return new Promise((resolve) => request.raw.once('close', () => resolve()))
}

const stages: Stage[] = [
  {
    name: 'in a hook',
    declare (app, reached, ended) {
      app.addHook('preHandler', async (request) => {
        reached()
        await clientToLeave(request)
      })
      app.get('/', async (request) => {
        await request.getWebSocketAsync().then(() => ended(), ended)
      })
    },
    line: CLIENT_LEFT
  },
  {
    name: 'in the handler, before it accepts',
    declare (app, reached, ended) {
      app.get('/', async (request) => {
        reached()
        await clientToLeave(request)
        return request.getWebSocketAsync().catch((error) => {
          ended(error)
          throw error
        })
      })
    },
    line: CLIENT_LEFT
  },
  {
    name: 'in a handler that then answers',
    declare (app, reached, ended) {
      app.get('/', async (request) => {
        reached()
        await clientToLeave(request)
        ended()
        return 'nobody reads this'
      })
    },
    line: CLIENT_LEFT
  },
  {
    name: 'while it waits for a message',
    declare (app, reached, ended) {
      app.get('/', async (request) => {
        const ws = await request.getWebSocketAsync()
        reached()
        await ws.receiveMessageAsync()
        ended()
      })
    },
    line: LOST
  },
  {
    name: 'while it waits for something else',
    declare (app, reached, ended) {
      app.get('/', async (request) => {
        const ws = await request.getWebSocketAsync()
        reached()
        await new Promise((resolve) => ws.signal.addEventListener('abort', resolve))
        ended()
      })
    },
    line: LOST
  },
  {
    name: 'in the middle of a message',
    declare (app, reached, ended) {
      app.get('/', async (request) => {
        const ws = await request.getWebSocketAsync()
        await ws.receiveMessageAsync()
        reached()
        await ws.receiveMessageAsync()
        ended()
      })
    },
    speak: (client) => client.write(frame('whole'), frame('half').subarray(0, 5)),
    line: LOST
  },
  {
    name: 'in the middle of a send',
    declare (app, reached, ended) {
      app.get('/', async (request) => {
        const ws = await request.getWebSocketAsync()
        const sending = ws.sendAsync(Buffer.alloc(64 * 1024 * 1024))
        reached()
        t.equal(await sending, false)
        ended()
      })
    },
    speak: (client) => { client.socket.pause() },
    line: LOST
  },
  {
    name: 'in the middle of the closing handshake',
    declare (app, reached, ended) {
      app.get('/', async (request) => {
        const ws = await request.getWebSocketAsync()
        const closing = ws.closeAsync(4000)
        reached()
        await closing
        ended()
      })
    },
    line: { msg: 'websocket closed', level: 30, code: 4000, cause: 'local' }
  }
]

for (const { name, declare, speak, line } of stages) {
  t.test(`a TCP reset ${name} ends the handler, is logged once and leaves nothing open`, async (t) => {
    const { lines, logger } = captureLog()
    const app = await buildApp(t, { app: { logger } })
    const reached = deferred()
    const ended = deferred<unknown>()
    declare(app, reached.resolve, ended.resolve)
    const port = await listen(app)
    const client = await connectRaw(t, port)
    client.write(handshake('/'))
    await speak?.(client)
    await reached.promise
    client.socket.resetAndDestroy()
    const error = await ended.promise
    if (error !== undefined) t.match(error, { code: 'FST_WSA_CLIENT_GONE' })
    await app.close()
    await nextTurn()
    const ending = lines.slice(2).filter(({ msg }) => msg !== 'incoming request')
    t.equal(ending.length, 1, JSON.stringify(ending))
    t.match(ending[0], line)
    t.same(process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap' || kind === 'Timeout'), [])
  })
}

t.test('a TCP reset after the close frame of the client ends the handler, and is logged once', async (t) => {
  const { lines, logger } = captureLog()
  const app = await buildApp(t, { app: { logger } })
  const ended = deferred()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    await ws.receiveMessageAsync()
    ended.resolve()
  })
  const client = await connectRaw(t, await listen(app))
  client.write(handshake('/'))
  await client.head()
  client.write(closeFrame(1000))
  client.socket.resetAndDestroy()
  await ended.promise
  await app.close()
  t.equal(lines.filter(({ msg }) => msg === 'websocket closed').length, 1)
})

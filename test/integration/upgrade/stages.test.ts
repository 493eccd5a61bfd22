import type { Socket } from 'node:net'
import { PassThrough, type Duplex } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { buildApp, connectTo, listen, type Options } from '../../fixtures/app.js'
import { deferred } from '../../fixtures/deferred.js'
import { handshake } from '../../fixtures/raw-client.js'

// At each stage at which the socket of an upgrade is the plugin's, a client may leave in any way, or not leave: the socket
// ends by itself, nothing is thrown outside of a handler, no timer is left, and the app closes

const MiB = 1024 * 1024

interface Stage {
  name: string
  options?: Options
  /** What the client writes. */
  request: string
  /** Declares what is asked for, and calls `reached` at the stage; where it does not, hearing from the server is the stage. */
  declare? (app: FastifyInstance, reached: () => void): void
  /** How the answer to a client that waits begins and ends, where there is one. */
  answer?: [start: string, end: string]
}

const never = () => new Promise<never>(() => {})
const tooManyHeaders = { a: Array<string>(1000).fill('') }
const slow = 'GET /slow HTTP/1.1\r\nHost: a\r\n\r\n'
const h2c = (headers: string) => `POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n${headers}\r\n`

const stages: Stage[] = [
  {
    name: 'while another listener may take it, and destroys it with an error',
    request: handshake('/'),
    declare (app, reached) {
      app.server.prependListener('upgrade', (_request, socket) => {
        reached()
        socket.destroy(new Error('theirs'))
      })
    }
  },
  {
    name: 'after another listener has left it',
    request: handshake('/'),
    declare (app) {
      app.server.on('upgrade', () => {})
      app.get('/', async () => 'plain')
    },
    answer: ['HTTP/1.1 200 ', 'plain']
  },
  {
    name: 'in a hook',
    request: handshake('/'),
    declare (app, reached) {
      app.addHook('onRequest', async () => {
        reached()
        await never()
      })
      app.get('/', async () => 'plain')
    }
  },
  {
    name: 'in a handler',
    request: handshake('/'),
    declare (app, reached) {
      app.get('/', async () => {
        reached()
        await never()
      })
    }
  },
  {
    name: 'in the hands of the server of ws',
    options: { options: { verifyClient: (_info: unknown, _done: unknown) => {} } },
    request: handshake('/'),
    declare (app, reached) {
      app.get('/', async (request) => {
        setImmediate(reached)
        await request.getWebSocketAsync()
      })
    }
  },
  {
    name: 'at an answer',
    request: handshake('/'),
    declare: (app) => { app.get('/', async () => 'plain') },
    answer: ['HTTP/1.1 200 ', 'plain']
  },
  {
    name: 'at an answer of the router',
    request: handshake('/%zz'),
    answer: ['HTTP/1.1 400 ', '"statusCode":400}']
  },
  {
    name: 'at an answer of 30 MiB',
    request: handshake('/'),
    declare: (app) => { app.get('/', async () => Buffer.alloc(30 * MiB, 'x')) },
    answer: ['HTTP/1.1 200 ', 'xxx']
  },
  {
    name: 'at an answer that is a stream',
    request: handshake('/'),
    declare (app) {
      app.get('/', async () => {
        const stream = new PassThrough()
        for (let i = 0; i < 30; i++) stream.write(Buffer.alloc(MiB, 'x'))
        return stream.end('end')
      })
    },
    answer: ['HTTP/1.1 200 ', 'end\r\n0\r\n\r\n']
  },
  {
    name: 'behind a request that is not answered',
    request: slow + handshake('/'),
    declare (app, reached) {
      app.get('/slow', () => {
        setImmediate(reached)
        return never()
      })
    }
  },
  {
    name: 'behind a request whose answer is 30 MiB',
    request: slow + handshake('/'),
    declare: (app) => { app.get('/slow', async () => Buffer.alloc(30 * MiB, 'x')) },
    answer: ['HTTP/1.1 200 ', 'xxx']
  },
  {
    name: 'at the refusal of a head with too many headers',
    request: handshake('/', tooManyHeaders),
    answer: ['HTTP/1.1 431 ', ''] // newer versions of Node refuse it by themselves
  },
  {
    name: 'at the same behind a request that is not answered',
    request: slow + handshake('/', tooManyHeaders),
    declare (app, reached) {
      app.get('/slow', () => {
        setImmediate(reached)
        return never()
      })
    }
  },
  {
    name: 'at the refusal of a request that is not certain',
    request: h2c('Transfer-Encoding: identity\r\n'),
    answer: ['HTTP/1.1 400 ', '\r\n\r\n']
  },
  {
    name: 'at the same with a body that is not there yet',
    request: h2c('Transfer-Encoding: gzip, chunked\r\n'),
    answer: ['HTTP/1.1 400 ', '']
  },
  {
    name: 'behind a request that is not answered, with a body that is not there yet',
    request: slow + h2c('Content-Length: 4\r\n') + 'bo',
    declare (app, reached) {
      app.get('/slow', () => {
        setImmediate(reached)
        return never()
      })
    }
  },
  {
    name: 'at the answer to another protocol, with a body',
    request: h2c('Content-Type: text/plain\r\nConnection: close\r\nContent-Length: 4\r\n') + 'body',
    declare: (app) => { app.post('/', async ({ body }) => body) },
    answer: ['HTTP/1.1 200 ', 'body']
  }
]

const clients: Record<string, (socket: Socket) => void> = {
  'resets the connection': (socket) => socket.resetAndDestroy(),
  'ends its side': (socket) => socket.end(),
  'keeps its side open': () => {},
  'does not read': (socket) => socket.pause()
}

/** The sockets and timers of this process. */
function openResources (): string[] {
  return process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap' || kind === 'Timeout')
}

/** Resolves when the server's socket and the app have closed, in either order, to what the client heard. */
async function runStage (t: Test, { request, options, declare, answer }: Stage, leave: (socket: Socket) => void, first: 'socket' | 'app') {
  const app = await buildApp(t, { ...options, upgradeTimeout: first === 'app' ? Infinity : 200, shutdown: { timeout: 200 } })
  const reached = deferred()
  declare?.(app, reached.resolve)
  const closed: Promise<unknown>[] = []
  app.server.on('connection', (socket: Socket) => closed.push(new Promise((resolve) => socket.once('close', resolve))))
  const client = connectTo(await listen(app), { allowHalfOpen: true })
  t.teardown(() => client.destroy())
  const isReader = leave !== clients['does not read']
  const ended = new Promise((resolve) => client.once('end', resolve).once('close', resolve))
  let heard = ''
  if (isReader) client.on('data', (chunk) => { heard += chunk.toString('latin1') })
  client.on('error', () => {}).write(request)
  if (answer === undefined) await reached.promise
  else await new Promise((resolve) => client.once(isReader ? 'data' : 'readable', resolve))
  leave(client)
  while (closed.length === 0) await nextTurn()
  if (first === 'app') await app.close()
  await Promise.all(closed)
  await app.close()
  if (isReader) await ended
  const clientOnClose = new Promise((resolve) => client.once('close', resolve))
  if (!client.closed) await Promise.all([client.destroy(), clientOnClose])
  return heard
}

for (const stage of stages) {
  t.test(`however a client leaves ${stage.name}, its socket ends, no timer is left and the app closes`, async (t) => {
    const heard = await Promise.all(Object.entries(clients).map(async ([name, leave]) => [name, await runStage(t, stage, leave, 'socket')] as const))
    for (const [name, text] of heard) {
      if (name !== 'ends its side' && name !== 'keeps its side open') continue
      const [start, end] = stage.answer ?? ['', '']
      t.same([text.slice(0, start.length), text.slice(text.length - end.length)], [start, end], `a client that ${name}`)
    }
    await Promise.all(Object.values(clients).map((leave) => runStage(t, stage, leave, 'app')))
    for (let turns = 0; turns < 100 && openResources().length > 0; turns++) await nextTurn() // the kernel's part comes after 'close'
    t.same(openResources(), [])
  })
}

t.test('an injected upgrade that is never answered, and one whose stream fails, leave nothing behind', async (t) => {
  const app = await buildApp(t, { upgradeTimeout: 50, shutdown: { timeout: 200 } })
  const closed: Promise<unknown>[] = []
  app.get('/:isFailing', ({ params }, reply) => {
    const stream = reply.raw.socket as Duplex
    closed.push(new Promise((resolve) => stream.once('close', resolve)))
    if ((params as { isFailing: string }).isFailing === 'true') stream.destroy(new Error('failed'))
    return never()
  })
  await app.ready()
  for (const isFailing of [true, false]) app.injectWS(`/${isFailing}`).catch(() => {})
  await Promise.all(closed)
  t.equal(closed.length, 2)
  await app.close()
})

import { once } from 'node:events'
import { stat } from 'node:fs/promises'
import type { Server } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import t, { type Test } from 'tap'
import type { CloseInfo, WebSocketMessage } from '../../../index.js'
import { streamPair, type StreamEnd } from '../../../lib/testing/stream-pair.js'
import { buildApp } from '../../fixtures/app.js'
import { deferred } from '../../fixtures/deferred.js'
import { closeFrame, frame, handshake, RawClient, type Frame } from '../../fixtures/raw-client.js'
import { connectTls, tlsOptions } from '../../fixtures/tls.js'

// What came before a close frame, or before what breaks the protocol, is answered before the connection is closed

const TOGETHER = 50

const [TEXT, CLOSE, PING, PONG] = [1, 8, 9, 10] as const

async function listen (app: FastifyInstance): Promise<{ port: number, host: string }> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  return { port: (app.server.address() as AddressInfo).port, host: '127.0.0.1' }
}

interface Transport {
  readonly options?: FastifyServerOptions
  /** Gives a function that connects. */
  readonly start: (app: FastifyInstance) => Promise<() => Promise<Duplex>>
}

/** Listens, and connects over sockets. */
function overSockets (connectTo: (address: { port: number, host: string }) => Socket, connected: string): Transport['start'] {
  return async (app) => {
    const address = await listen(app)
    return async () => {
      const socket = connectTo(address)
      await once(socket, connected)
      return socket
    }
  }
}

const transports: Record<string, Transport> = {
  TCP: { start: overSockets(connect, 'connect') },
  TLS: {
    options: { https: tlsOptions } as FastifyServerOptions, // the type of the fixture is that of a plain server
    start: overSockets(connectTls, 'secureConnect')
  },
  'streams in one process': {
    async start (app) {
      await app.ready()
      return async () => connectInProcess(app.server)[0]
    }
  }
}

function connectInProcess (server: Server): [near: StreamEnd, far: StreamEnd] {
  const [near, far] = streamPair()
  server.emit('connection', far)
  return [near, far]
}

interface Outcome {
  readonly frames: Frame[]
  /** What the sends of the handler resolved to. */
  readonly sends: boolean[]
  readonly info: CloseInfo
}

type Answer = (message: WebSocketMessage) => Promise<boolean>

/** An app whose handler answers each message. The function upgrades a connection and gives what its client can do. */
async function startAnswering (t: Test, options: FastifyServerOptions | undefined, answer: Answer) {
  const app = await buildApp(t, options === undefined ? {} : { app: options })
  const outcomes = new Map<string, ReturnType<typeof deferred<Omit<Outcome, 'frames'>>>>()
  app.get<{ Params: { id: string } }>('/:id', async (request) => {
    const ws = await request.getWebSocketAsync()
    const sends: boolean[] = []
    for await (const message of ws) sends.push(await answer(message))
    const info = await ws.closed
    outcomes.get(request.params.id)?.resolve({ sends, info })
  })
  let count = 0
  const upgrade = async (transport: Duplex) => {
    const id = `${count++}`
    const outcome = deferred<Omit<Outcome, 'frames'>>()
    outcomes.set(id, outcome)
    t.teardown(() => transport.destroy())
    const client = new RawClient(transport as Socket) // it has what a raw client needs of one
    client.write(handshake(`/${id}`))
    await client.head()
    return { client, end: async (): Promise<Outcome> => ({ frames: await allFrames(client), ...await outcome.promise }) }
  }
  return { app, upgrade }
}

/** Everything up to the close frame, and with it. */
async function allFrames (client: RawClient): Promise<Frame[]> {
  const frames: Frame[] = []
  while (frames.at(-1)?.opcode !== CLOSE) frames.push(await client.frame())
  client.socket.end()
  return frames
}

const told = (frames: Frame[]) => frames.map(({ opcode, payload }) => opcode === CLOSE ? `close ${payload.readUInt16BE()}` : `${opcode} ${payload}`)
const echo: Answer = (message) => message.sender.sendAsync(message.getString())

const TIMES = Number(process.env.TIMES ?? 1000)

const cases = {
  'a close frame behind a message': { bytes: [frame('x'), closeFrame(4000)], answers: ['x'], code: 4000, cause: 'peer', times: TIMES },
  'an illegal frame behind three messages': { bytes: [...['a', 'b', 'c'].map((text) => frame(text)), frame('', { rsv: 1 })], answers: ['a', 'b', 'c'], code: 1002, cause: 'protocol-error', times: TIMES },
  'the beginning of an illegal frame behind a message': { bytes: [frame('x'), frame('', { opcode: 3 }).subarray(0, 2)], answers: ['x'], code: 1002, cause: 'protocol-error', times: TOGETHER }
}

for (const [name, { options, start }] of Object.entries(transports)) {
  for (const [what, { bytes, answers, code, cause, times }] of Object.entries(cases)) {
    t.test(`${what} is read after the answer, ${times} times over ${name}`, { timeout: 120_000 }, async (t) => {
      const { app, upgrade } = await startAnswering(t, options, echo)
      const open = await start(app)
      const expected = [...answers.map((text) => `${TEXT} ${text}`), `close ${code}`]
      let different: unknown
      for (let i = 0; i < times && different === undefined; i += TOGETHER) {
        await Promise.all(Array.from({ length: TOGETHER }, async () => {
          const { client, end } = await upgrade(await open())
          client.write(...bytes)
          const { frames, sends, info } = await end()
          if (told(frames).join() !== expected.join() || sends.includes(false) || info.code !== code || info.cause !== cause) different ??= { frames: told(frames), sends, info }
        }))
      }
      t.equal(different, undefined)
    })
  }

  t.test(`an answer that comes after I/O is not sent over ${name}`, async (t) => {
    for (const wait of [nextTurn, () => stat('.')]) {
      const { app, upgrade } = await startAnswering(t, options, async (message) => {
        await wait()
        await nextTurn() // in one process the first turn of the event loop may be over before that of the handler
        return message.sender.sendAsync('too late')
      })
      const open = await start(app)
      const { client, end } = await upgrade(await open())
      client.write(frame('x'), closeFrame(4000))
      const { frames, sends, info } = await end()
      t.same(told(frames), ['close 4000'])
      t.same(sends, [false])
      t.match(info, { code: 4000, cause: 'peer', wasClean: true, unread: 0 })
    }
  })

  t.test(`a ping between a message and a close frame is answered at once over ${name}`, async (t) => {
    const { app, upgrade } = await startAnswering(t, options, echo)
    const open = await start(app)
    const { client, end } = await upgrade(await open())
    client.write(frame('x'), frame('now', { opcode: PING }), closeFrame(4000))
    t.same(told((await end()).frames), [`${PONG} now`, `${TEXT} x`, 'close 4000'])
  })
}

t.test('a close frame in the next read, before the turn of the handler, is read after the answer', async (t) => {
  const { app, upgrade } = await startAnswering(t, undefined, async (message) => {
    await nextTurn()
    return echo(message)
  })
  await app.ready()
  for (const [bytes, code] of [[closeFrame(4000), 4000], [frame('', { rsv: 1 }), 1002]] as const) {
    const [near, far] = connectInProcess(app.server)
    const { end } = await upgrade(near)
    setImmediate(() => far.push(frame('x')))
    setImmediate(() => far.push(bytes)) // in the same turn
    const { frames, sends } = await end()
    t.same(told(frames), [`${TEXT} x`, `close ${code}`])
    t.same(sends, [true])
  }
})

t.test('a client of a test that sends and closes is answered, which it counts as unread, and then closed', async (t) => {
  const { app } = await startAnswering(t, undefined, echo)
  for (let i = 0; i < 100; i++) {
    const client = await app.injectWebSocketAsync('/injected')
    client.sendAsync('x')
    const { code, unread } = await client.closeAsync(4000)
    if (code !== 4000 || unread !== 1) return t.same({ code, unread }, { code: 4000, unread: 1 })
  }
  t.pass('it was answered each time')
})

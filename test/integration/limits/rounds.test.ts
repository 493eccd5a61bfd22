import t from 'tap'
import { WebSocketCloseError } from '../../../index.js'
import { buildApp, listen } from '../../fixtures/app.js'
import { measureMemory, MiB } from '../../fixtures/memory.js'
import { closeFrame, connectRaw, frame, handshake, type RawClient } from '../../fixtures/raw-client.js'
import { until } from '../../fixtures/wait.js'

const ROUNDS = Number(process.env.ROUNDS ?? 1000)

const polite = async (client: RawClient) => {
  const { code } = await client.close()
  client.write(closeFrame(code))
}

/** Every way in which a conversation ends: what the client does after its first message was answered. */
const endings: Record<string, (client: RawClient) => unknown> = {
  return: polite,
  throw: polite,
  'close-error': polite,
  close: polite,
  dispose: polite,
  terminate: () => {},
  refuse: () => {},
  'client-closes': (client) => client.write(closeFrame(1000)),
  'client-ends': (client) => client.socket.end(),
  'client-resets': (client) => client.socket.resetAndDestroy(),
  'client-violates': (client) => client.write(Buffer.from([0x81, 0x00])),
  event: (client) => client.write(closeFrame(1000))
}

t.test(`${ROUNDS} rounds of connect, use and leave, in every way, leave nothing`, { timeout: 600_000 }, async (t) => {
  const app = await buildApp(t)
  app.get('/event', { websocket: true }, (socket) => { socket.on('message', () => socket.send('answer')) })
  app.get('/:ending', async (request, reply) => {
    const { ending } = request.params as { ending: string }
    if (ending === 'refuse') return reply.code(403).send('no')
    const ws = await request.getWebSocketAsync()
    ws.pingPolicy.start({ interval: 1000, dataMessage: 'ping' })
    ws.pingPolicy.stop()
    await ws.receiveMessageAsync({ timeout: 10_000, signal: ws.signal })
    await ws.sendAsync('answer')
    if (ending === 'throw') throw new Error('failed')
    if (ending === 'close-error') throw new WebSocketCloseError(4000)
    if (ending === 'close') await ws.closeAsync(4001)
    if (ending === 'terminate') ws.terminate()
    if (ending === 'dispose') {
      await using _scope = ws
    }
    if (ending.startsWith('client')) await ws.receiveMessageAsync({ timeout: 10_000 })
    return undefined
  })
  const port = await listen(app)

  async function round (ending: string, leave: (client: RawClient) => unknown): Promise<void> {
    const client = await connectRaw({ teardown: () => {} } as never, port) // nothing of a round may outlive it
    client.write(handshake(`/${ending}`), frame('hello'))
    const head = await client.head()
    if (ending !== 'refuse') {
      while (await client.text() !== 'answer');
    } else if (!head.startsWith('HTTP/1.1 403')) {
      throw new Error(head)
    }
    await leave(client)
    await client.closed
  }

  async function rounds (count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      for (const [ending, leave] of Object.entries(endings)) await round(ending, leave)
    }
    await until('no socket, timer or immediate is in use', () => inUse().length === 0)
  }

  const inUse = () => process.getActiveResourcesInfo().filter((kind) => ['TCPSocketWrap', 'Timeout', 'Immediate'].includes(kind))
  await rounds(Math.ceil(ROUNDS / 4)) // the code is compiled, and what is kept once is kept
  const before = await measureMemory()
  await rounds(ROUNDS)
  const after = await measureMemory()
  const growth = (after.used - before.used) / ROUNDS / Object.keys(endings).length
  t.comment(`${growth.toFixed(1)} bytes a conversation; ${((after.used - before.used) / MiB).toFixed(2)} MiB in all`)
  t.ok(after.used - before.used < 2 * MiB)
  t.equal(app.websocketServer.clients.size, 0)
  t.equal(app.server.listenerCount('upgrade'), 1)
  t.equal(app.websocketServer.listenerCount('headers'), 1)
})

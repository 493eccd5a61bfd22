import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:https'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { install } from '@sinonjs/fake-timers'
import t, { type Test } from 'tap'
import { RawExchange, type ExchangeOwner } from '../../lib/upgrade/raw-exchange.js'
import type { Lifecycle } from '../../lib/app/lifecycle.js'
import { handshake } from '../fixtures/raw-client.js'
import { connectTls, tlsOptions } from '../fixtures/tls.js'

const MiB = 1024 * 1024
const upgradeTimeout = 10_000
const LINGER = 1_000

/** An exchange with a client of its own, a clock that stands still, and what it tells its owner. */
async function start (t: Test, { isTls = false, timeout = upgradeTimeout, isWaiting = false } = {}) {
  const clock = install({ toFake: ['setTimeout', 'clearTimeout'] })
  t.teardown(() => { clock.uninstall() })
  const server = isTls ? createTlsServer(tlsOptions) : createServer()
  t.teardown(() => { server.close() })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const client = isTls ? connectTls({ port, host: '127.0.0.1' }) : connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  t.teardown(() => { client.destroy() })
  client.on('error', () => {}).write(handshake('/'))
  const [raw, socket, head] = await once(server, 'upgrade') as [IncomingMessage, Socket, Buffer]

  const watched = new Set<unknown>()
  const lifecycle = { trackUpgrade: (upgrade: unknown) => watched.add(upgrade), untrackUpgrade: (upgrade: unknown) => watched.delete(upgrade) }
  const events: string[] = []
  const owner: ExchangeOwner = {
    exchangeOnTimeout: () => events.push('timeout') > 0 && !isWaiting,
    exchangeOnAnswer () { events.push('answer') },
    exchangeOnClose (wasAnswered) { events.push(wasAnswered ? 'close after the answer' : 'close') },
    refuse () { events.push('refuse') }
  }
  const context = { settings: { upgradeTimeout: timeout }, lifecycle: lifecycle as unknown as Lifecycle } // all that is called
  const exchange = new RawExchange(context, { raw, socket, head })
  exchange.response.assignSocket(socket)
  exchange.watch(owner)
  return { clock, client, socket, exchange, events, watched, closed: new Promise((resolve) => socket.once('close', resolve)) }
}

/** Reads so much, and no more than what is at hand by then. */
async function read (client: Socket, bytes: number): Promise<void> {
  let count = 0
  const clientOnData = (chunk: Buffer) => {
    count += chunk.length
    if (count >= bytes) client.pause().emit('enough')
  }
  client.on('data', clientOnData).resume()
  await once(client, 'enough')
  client.off('data', clientOnData)
}

t.test('without an answer the socket is destroyed at upgradeTimeout', async (t) => {
  const { clock, socket, events, watched, closed } = await start(t)
  clock.tick(upgradeTimeout - 1)
  t.equal(socket.destroyed, false)
  t.equal(watched.size, 1)
  clock.tick(1)
  await closed
  t.same(events, ['timeout', 'close'])
  t.equal(watched.size, 0)
  t.equal(clock.countTimers(), 0)
})

t.test('an owner may go on waiting', async (t) => {
  const { clock, socket, events } = await start(t, { isWaiting: true })
  clock.tick(upgradeTimeout * 3)
  t.same(events, ['timeout', 'timeout', 'timeout'])
  t.equal(socket.destroyed, false)
})

t.test('an infinite upgradeTimeout is for the answer to begin, not for the client to take it', async (t) => {
  const { clock, socket, exchange, events, closed } = await start(t, { timeout: Infinity })
  clock.tick(1e9)
  t.same(events, [])
  exchange.response.end(Buffer.alloc(30 * MiB))
  await nextTurn()
  while (!socket.destroyed) {
    clock.tick(upgradeTimeout)
    await nextTurn()
  }
  await closed
})

for (const isTls of [false, true]) {
  t.test(`an answer goes on while the client takes it, and ends when it stops, ${isTls ? 'TLS' : 'TCP'}`, async (t) => {
    const { clock, client, socket, exchange, events, closed } = await start(t, { isTls })
    exchange.response.end(Buffer.alloc(60 * MiB))
    for (let i = 0; i < 4; i++) {
      await read(client, 10 * MiB) // more than the kernel holds
      await nextTurn()
      clock.tick(upgradeTimeout)
      t.equal(socket.destroyed, false, `after ${i} times upgradeTimeout`)
    }
    for (let looks = 0; !socket.destroyed; looks++) {
      if (looks > 100) throw new Error('the socket is still open')
      clock.tick(upgradeTimeout)
      await nextTurn()
    }
    await closed
    t.same(events, ['close'])
    t.equal(clock.countTimers(), 0)
  })
}

t.test('an app that takes its time over an answer is not hurried, unless its client has left', async (t) => {
  const { clock, client, socket, exchange, closed } = await start(t)
  exchange.response.write('begun')
  await once(client, 'data')
  for (let i = 0; i < 10; i++) {
    clock.tick(upgradeTimeout)
    await nextTurn()
  }
  t.equal(socket.destroyed, false)
  client.end()
  await once(socket, 'end')
  clock.tick(2 * upgradeTimeout)
  await closed
})

t.test('a response is told when there is room for more', async (t) => {
  const { client, exchange } = await start(t)
  t.equal(exchange.response.write(Buffer.alloc(30 * MiB)), false)
  client.resume()
  await once(exchange.response, 'drain')
})

t.test('after the answer the client has a while to close its side', async (t) => {
  const { clock, client, socket, exchange, events, closed } = await start(t)
  client.resume()
  exchange.response.end('answer')
  await once(client, 'end')
  client.write('more than was asked for') // it is read, so that nothing is reset
  await once(socket, 'data')
  clock.tick(LINGER - 1)
  t.equal(socket.destroyed, false)
  clock.tick(1)
  await closed
  t.same(events, ['answer', 'close after the answer'])
  t.equal(clock.countTimers(), 0)
})

t.test('a socket that is handed on keeps nothing of the exchange', async (t) => {
  const { clock, socket, exchange, watched } = await start(t)
  const before = socket.eventNames().map((name) => [name, socket.listenerCount(name)])
  exchange.unwatch()
  exchange.unwatch()
  t.equal(clock.countTimers(), 0)
  t.equal(watched.size, 0)
  t.equal(socket.listenerCount('error'), 0)
  t.equal(socket.listenerCount('drain'), 0)
  t.ok(before.length > socket.eventNames().length)
  socket.destroy()
})

import { EventEmitter } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import upstream from '@fastify/websocket'
import Fastify from 'fastify'
import t from 'tap'
import { WebSocketServer } from 'ws'
import { adoptForeignPlugins, claim, injectionServer, joinServer } from '../../lib/plugin/upstream.js'

const ALREADY = { code: 'FST_WSA_ALREADY_REGISTERED' }

t.test('claim() refuses a second app for a server until the first has closed', async (t) => {
  const server = createServer()
  const first = Fastify()
  claim(first, server)
  t.throws(() => claim(Fastify(), server), ALREADY)
  await first.close()
  t.doesNotThrow(() => claim(Fastify(), server))
})

t.test('claim() refuses an app in which @fastify/websocket is registered', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(upstream)
  t.throws(() => claim(app, app.server), ALREADY)
})

t.test('injectionServer() passes on the upgrades that are emitted on it, and ignores listeners', async (t) => {
  const upgrades: unknown[][] = []
  const server = injectionServer((...upgrade) => { upgrades.push(upgrade) })
  server.on('upgrade', () => t.fail('it has a listener'))
  server.emit('upgrade', 'raw', 'socket', 'head')
  server.removeListener('upgrade', () => {})
  t.same(upgrades, [['raw', 'socket', 'head']])
})

t.test('joinServer() lets others choose a subprotocol at any time, and otherwise takes the first that was offered', async (t) => {
  const { options } = joined()
  const raw = {} as IncomingMessage // it is no upgrade of ours
  t.equal(options.handleProtocols?.(new Set(['a', 'b']), raw), 'a')
  t.equal(options.handleProtocols?.(new Set(), raw), false)
  options.handleProtocols = () => 'b'
  t.equal(options.handleProtocols(new Set(['a', 'b']), raw), 'b')
  t.equal(joined({ handleProtocols: () => 'c' }).options.handleProtocols?.(new Set(['a']), raw), 'c')
})

t.test('joinServer() adds nothing to the 101 of a request that is no upgrade of ours', async (t) => {
  const lines = ['HTTP/1.1 101 Switching Protocols']
  joined().emit('headers', lines, {})
  t.equal(lines.length, 1)
})

function joined (options = {}): WebSocketServer {
  const server = new WebSocketServer({ noServer: true, ...options })
  joinServer(server)
  return server
}

t.test('adoptForeignPlugins() removes the listener of a foreign instance, and exposes the socket as that would', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(async (app) => { await app.register(upstream) })
  await app.register(async (app) => { await app.register(upstream, { options: { server: createServer() } }) }) // it stands for ours
  app.server.on('upgrade', () => {})
  await app.ready()
  const [listener] = app.server.listeners('upgrade')
  const [plugin, ...others] = adoptForeignPlugins(app, app.server)
  t.equal(others.length, 0)
  t.notOk(app.server.listeners('upgrade').includes(listener as () => void))

  const raw = {}
  const socket = new EventEmitter() as Socket
  const head = Buffer.from('head')
  let isTaken = false
  plugin?.exposeSocket(raw as IncomingMessage, socket, head, () => { isTaken = true })
  const [socketKey, headKey] = Object.getOwnPropertySymbols(raw) as [symbol, symbol]
  t.same([socketKey, headKey].map(({ description }) => description), ['ws-socket', 'ws-head'])
  const exposed = raw as Record<symbol, unknown>
  t.equal(exposed[socketKey], socket)
  t.equal(isTaken, false)
  t.equal(exposed[headKey], head)
  t.equal(isTaken, true)
})

t.test('adoptForeignPlugins() finds none where we have registered the only instance', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(upstream, { options: { server: createServer() } })
  await app.ready()
  t.same(adoptForeignPlugins(app, app.server), [])
})

t.test('adoptForeignPlugins() refuses an instance whose listener is not the one that we know', async (t) => {
  for (const listener of [function other () {}, function onUpgrade () {}]) {
    const app = Fastify()
    t.teardown(() => app.close())
    for (let i = 0; i < 2; i++) await app.register(async (app) => { await app.register(upstream) })
    await app.ready()
    app.server.removeAllListeners('upgrade').on('upgrade', listener).on('upgrade', () => {})
    t.throws(() => adoptForeignPlugins(app, app.server), ALREADY)
  }
})

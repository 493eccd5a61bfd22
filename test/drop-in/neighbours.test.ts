import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import proxy from '@fastify/http-proxy'
import Fastify, { type FastifyInstance } from 'fastify'
import mercurius from 'mercurius'
import t, { type Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import websocketAsync from '../../index.js'
import { listen } from '../fixtures/app.js'
import { openRaw } from '../fixtures/raw-client.js'

const schema = 'type Query { one: Int } type Mutation { say(text: String): Boolean } type Subscription { said: String }'
const resolvers = {
  Query: { one: () => 1 },
  Mutation: {
    async say (_: unknown, { text }: { text: string }, { pubsub }: mercurius.MercuriusContext) {
      await pubsub.publish({ topic: 'said', payload: { said: text } })
      return true
    }
  },
  Subscription: { said: { subscribe: async (_: unknown, _args: unknown, { pubsub }: mercurius.MercuriusContext) => pubsub.subscribe('said') } }
} as unknown as mercurius.IResolvers

function build (t: Test): FastifyInstance {
  const app = Fastify()
  t.teardown(() => app.close())
  return app
}

function greet (app: FastifyInstance): void {
  app.get('/ours', async (request) => {
    const ws = await request.getWebSocketAsync()
    await ws.sendAsync('ours')
  })
}

const protocols = [['graphql-ws', 'start'], ['graphql-transport-ws', 'subscribe']] as const

for (const [order, [protocol, subscribe]] of protocols.flatMap((protocol) => [['after', protocol], ['before', protocol]] as const)) {
  t.test(`mercurius ${order} ours: subscriptions over ${protocol}`, { timeout: 10_000 }, async (t) => {
    const app = build(t)
    if (order === 'after') app.register(websocketAsync)
    app.register(mercurius, { schema, resolvers, subscription: true })
    if (order === 'before') app.register(websocketAsync)
    await app.register(async (app) => greet(app))
    const port = await listen(app)

    const socket = new WebSocket(`ws://127.0.0.1:${port}/graphql`, protocol)
    await once(socket, 'open')
    const exchange = async (message: unknown) => {
      const answer = once(socket, 'message')
      if (message !== undefined) socket.send(JSON.stringify(message))
      return JSON.parse(String((await answer)[0]))
    }
    t.match(await exchange({ type: 'connection_init', payload: {} }), { type: 'connection_ack' })
    const said = exchange({ id: '1', type: subscribe, payload: { query: 'subscription { said }' } })
    const repeat = setInterval(() => { // it subscribes when it likes
      app.inject({ method: 'POST', url: '/graphql', payload: { query: 'mutation { say(text: "hi") }' } }).catch(t.fail)
    }, 20)
    t.teardown(() => { clearInterval(repeat) })
    t.match(await said, { id: '1', payload: { data: { said: 'hi' } } })
    clearInterval(repeat)
    t.equal(String((await once(new WebSocket(`ws://127.0.0.1:${port}/ours`), 'message'))[0]), 'ours')

    const closed = once(socket, 'close')
    await app.close()
    t.equal((await closed)[0], order === 'after' ? 1001 : 1005, 'in the hands of the server that it came first to')
  })
}

for (const order of ['before', 'after']) {
  t.test(`@fastify/http-proxy ${order} ours`, { timeout: 10_000 }, async (t) => {
    const back = new WebSocketServer({ port: 0, host: '127.0.0.1' })
    back.on('connection', (socket) => socket.send('theirs'))
    await once(back, 'listening')
    t.teardown(() => {
      for (const client of back.clients) client.terminate()
      back.close()
    })
    const upstream = `http://127.0.0.1:${(back.address() as AddressInfo).port}`

    const app = build(t)
    if (order === 'after') await app.register(websocketAsync)
    await app.register(proxy, { upstream, prefix: '/theirs', websocket: true })
    if (order === 'before') await app.register(websocketAsync)
    greet(app)
    const port = await listen(app)
    t.equal(await (await openRaw(t, port, '/theirs/')).text(), 'theirs')
    t.equal(await (await openRaw(t, port, '/ours')).text(), 'ours')
  })
}

t.test('a proxy for every path takes our upgrades too, and we say so', { timeout: 10_000 }, async (t) => {
  const app = build(t)
  await app.register(proxy, { upstream: 'http://127.0.0.1:1', websocket: true })
  await app.register(websocketAsync)
  app.get('/ours', async (request) => request.getWebSocketAsync())
  const socket = new WebSocket(`ws://127.0.0.1:${await listen(app)}/ours`)
  socket.on('error', () => {})
  const [, response] = await once(socket, 'unexpected-response')
  const [body] = await once(response, 'data')
  t.match(JSON.parse(String(body)), { statusCode: 500, code: 'FST_WSA_UPGRADE_TAKEN' })
})

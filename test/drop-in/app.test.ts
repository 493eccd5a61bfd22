import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import upstream from '@fastify/websocket'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { createWebSocketStream, WebSocket } from 'ws'
import plugin from '../../index.js'
import { until } from '../fixtures/wait.js'

interface Built {
  app: FastifyInstance
  events: string[]
}

const { buildApp }: { buildApp (websocket: unknown): Promise<Built> } = await import(new URL('app.mjs', import.meta.url).href)

for (const [name, websocket] of Object.entries({ '@fastify/websocket': upstream, 'fastify-websocket-async': plugin })) {
  t.test(`an app on ${name}`, async (t) => {
    const { app, events } = await buildApp(websocket)
    t.teardown(() => app.close())
    await app.listen({ port: 0, host: '127.0.0.1' })
    const { port } = app.server.address() as AddressInfo

    const connect = (path: string, token = 'a') =>
      new Client(new WebSocket(`ws://127.0.0.1:${port}${path}`, { headers: { authorization: `Bearer ${token}` } }))
    const status = async () => (await app.inject('/status')).json() as unknown

    await t.test('hooks answer before the upgrade', async (t) => {
      t.equal(await connect('/rooms/tea', 'nobody').outcome, 401)
      t.equal(await connect('/rooms/T3A').outcome, 400)
      t.equal(await connect('/admin', 'b').outcome, 403)
      t.equal(await connect('/nowhere').outcome, 404)
      t.equal((await app.inject({ url: '/rooms/tea', headers: { authorization: 'Bearer a' } })).statusCode, 404)
      t.same(await status(), { rooms: {}, clients: 0, ws: false })
    })

    await t.test('rooms: what one says reaches all members, and leaving is announced', async (t) => {
      const ada = connect('/rooms/tea')
      t.same(await ada.json(), { type: 'joined', user: 'ada', members: ['ada'] })
      const bob = connect('/rooms/tea', 'b')
      for (const client of [ada, bob]) t.same(await client.json(), { type: 'joined', user: 'bob', members: ['ada', 'bob'] })
      t.same(await status(), { rooms: { tea: 2 }, clients: 2, ws: false })
      ada.socket.send('hello')
      for (const client of [ada, bob]) t.same(await client.json(), { type: 'said', user: 'ada', text: 'hello' })
      bob.socket.send(Buffer.from([1]))
      t.same(await bob.closed, [1003, 'text only'])
      t.same(await ada.json(), { type: 'left', user: 'bob', members: ['ada'] })
      ada.socket.close(1000)
      t.same(await ada.closed, [1000, ''])
    })

    await t.test('a stream, both ways', async (t) => {
      const text = 'abc'.repeat(100_000)
      const client = createWebSocketStream(connect('/shout').socket)
      client.end(text)
      t.equal(String(Buffer.concat(await client.toArray())), text.toUpperCase())
    })

    await t.test('one route serves HTTP and WebSocket, also under a prefix', async (t) => {
      t.same((await app.inject({ url: '/clock', headers: { authorization: 'Bearer a' } })).json(), { tick: 0 })
      const clock = connect('/clock')
      t.same([await clock.json(), await clock.json()], [{ tick: 1 }, { tick: 2 }])
      clock.socket.terminate()
      const admin = connect('/admin?q=1')
      t.equal(await admin.text(), 'ada at /admin, 1')
      t.same(await admin.closed, [1005, ''])
    })

    await t.test('what a handler throws, and a message that is too long, close with the code of the errorHandler or of ws', async (t) => {
      t.same(await connect('/throws').closed, [4000, 'at once'])
      t.same(await connect('/rejects').closed, [4000, 'later'])
      const large = connect('/rooms/tea')
      await large.json()
      large.socket.send('x'.repeat(1024 * 1024 + 1))
      t.same(await large.closed, [1009, ''])
    })

    await t.test('injectWS() holds a conversation, and rejects with the status of a refusal', async (t) => {
      let joined: Promise<unknown[]> | undefined
      const client = await app.injectWS('/rooms/den', { headers: { authorization: 'Bearer b' } }, {
        onInit (client) { joined = once(client, 'message') }
      })
      t.match(String((await joined)?.[0]), '"user":"bob"')
      client.terminate()
      await t.rejects(app.injectWS('/rooms/den'), { message: 'Unexpected server response: 401' })
    })

    await t.test('app.close() runs preClose, the close listeners and onClose', async (t) => {
      while (app.websocketServer.clients.size > 0) await once([...app.websocketServer.clients][0] as WebSocket, 'close')
      events.length = 0
      const ada = connect('/rooms/tea')
      await ada.json()
      await app.close()
      t.same(await ada.closed, [4001, 'come back later'])
      await until('the server has heard of all three', () => events.length >= 3)
      t.same(events.sort(), ['ada left tea with 4001', 'onClose', 'preClose'])
    })
  })
}

class Client {
  readonly socket: WebSocket
  readonly closed: Promise<[code: number, reason: string]>
  /** The status of the HTTP answer, or 101. */
  readonly outcome: Promise<number>
  readonly #messages: string[] = []
  #onMessage = () => {}

  constructor (socket: WebSocket) {
    this.socket = socket
    socket.on('error', () => {})
    socket.on('message', (data) => {
      this.#messages.push(String(data))
      this.#onMessage()
    })
    this.closed = new Promise((resolve) => socket.once('close', (code, reason) => resolve([code, String(reason)])))
    this.outcome = new Promise((resolve) => {
      socket.once('open', () => resolve(101))
      socket.once('unexpected-response', (request, { statusCode }) => {
        request.destroy()
        resolve(statusCode ?? 0)
      })
    })
  }

  async text (): Promise<string> {
    while (this.#messages.length === 0) await new Promise<void>((resolve) => { this.#onMessage = resolve })
    return this.#messages.shift() as string
  }

  async json (): Promise<unknown> {
    return JSON.parse(await this.text())
  }
}

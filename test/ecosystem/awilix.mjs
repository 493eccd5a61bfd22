// @fastify/awilix disposes of a request's scope in an onResponse hook: of a connection's, when it has ended
import assert from 'node:assert/strict'
import { fastifyAwilixPlugin } from '@fastify/awilix'
import { asFunction, createContainer, Lifetime } from 'awilix'
import { next, open, until, withApp } from './app.mjs'

let made = 0
let disposed = 0
const container = createContainer()
container.register({
  session: asFunction(() => ({ number: ++made }), { lifetime: Lifetime.SCOPED, dispose: () => { disposed++ } })
})

async function declare (app) {
  await app.register(fastifyAwilixPlugin, { container })
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    for await (const message of ws) {
      const { number } = request.diScope.resolve('session')
      await ws.sendAsync(`${message.getString()} ${number}`)
    }
  })
}

await withApp(declare, async (url, app) => {
  for (const number of [1, 2, 3]) {
    const client = await open(url)
    for (const text of ['first', 'second']) {
      client.send(text)
      assert.equal(await next(client), `${text} ${number}`)
    }
    assert.equal(disposed, number - 1)
    client.close()
    await until(app.webSockets, 'close', () => app.webSockets.size === 0)
    await new Promise(setImmediate) // hooks run after the event
    assert.equal(disposed, number)
  }
})
assert.deepEqual({ made, disposed }, { made: 3, disposed: 3 })

// tRPC over WebSockets: by its plugin for Fastify, and handed over in an awaitable handler
import assert from 'node:assert/strict'
import { createTRPCClient, createWSClient, wsLink } from '@trpc/client'
import { initTRPC } from '@trpc/server'
import { fastifyTRPCPlugin } from '@trpc/server/adapters/fastify'
import { getWSConnectionHandler } from '@trpc/server/adapters/ws'
import { WebSocket } from 'ws'
import { QUIET, withApp } from './app.mjs'

const CALLS = 300
const { router: makeRouter, procedure } = initTRPC.create()
const router = makeRouter({
  double: procedure.input(Number).query(({ input }) => 2 * input),
  count: procedure.subscription(async function * () { yield * [1, 2, 3] })
})

async function declare (app) {
  const onConnection = getWSConnectionHandler({ router, createContext: () => ({}) })
  await app.register(fastifyTRPCPlugin, { prefix: '/trpc', useWSS: true, trpcOptions: { router } })
  app.get('/awaited', async (request) => {
    const ws = await request.getWebSocketAsync()
    onConnection(ws.socket, request.raw)
    await ws.closed
  })
}

async function converse (url) {
  const client = createWSClient({ url, WebSocket })
  const trpc = createTRPCClient({ links: [wsLink({ client })] })
  assert.equal(await trpc.double.query(21), 42)
  const counted = []
  await new Promise((resolve, reject) => {
    trpc.count.subscribe(undefined, { onData: (number) => counted.push(number), onComplete: resolve, onError: reject })
  })
  assert.deepEqual(counted, [1, 2, 3])
  for (let number = 0; number < CALLS; number++) assert.equal(await trpc.double.query(number), 2 * number)
  await client.close()
}

await withApp(declare, async (url) => {
  await converse(`${url}/trpc`)
  await converse(`${url}/awaited`)
}, QUIET)

// socket.io with an async allowRequest answers its upgrades in a later turn, on a server that ours shares
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { Server } from 'socket.io'
import { io } from 'socket.io-client'
import { next, open, withApp } from './app.mjs'

let sockets

function declare (app) {
  sockets = new Server(app.server, {
    allowRequest: async (_request, callback) => {
      await delay(20) // it looks up a session
      callback(null, true)
    }
  })
  sockets.on('connection', (socket) => socket.on('double', (number, reply) => reply(2 * number)))
  app.addHook('preClose', async () => sockets.disconnectSockets(true))
  app.get('/echo', async (request) => {
    const ws = await request.getWebSocketAsync()
    for await (const message of ws) await ws.sendAsync(`echo ${message.getString()}`)
  })
}

await withApp(declare, async (url) => {
  for (const transports of [['websocket'], ['polling', 'websocket']]) {
    const client = io(url.replace('ws', 'http'), { transports, reconnection: false, forceNew: true })
    await Promise.race([once(client, 'connect'), once(client, 'connect_error').then(([error]) => { throw error })])
    if (client.io.engine.transport.name === 'polling') await once(client.io.engine, 'upgrade')
    assert.equal(await client.timeout(5_000).emitWithAck('double', 21), 42)
    assert.equal(client.io.engine.transport.name, 'websocket')
    client.disconnect()
  }
  const client = await open(`${url}/echo`)
  client.send('hello')
  assert.equal(await next(client), 'echo hello')
})

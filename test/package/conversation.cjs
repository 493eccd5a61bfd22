'use strict'

// Has no imports of the package or of what it works with: the apps bring theirs, each in its own module system
const assert = require('node:assert/strict')
const { once } = require('node:events')

/** One conversation over a real port, from the upgrade to the end of the app. */
exports.converse = async function converse ({ Fastify, websocketAsync, WebSocket }) {
  const app = Fastify()
  await app.register(websocketAsync)
  app.get('/greet', greet)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })

  const client = new WebSocket(`${url.replace('http', 'ws')}/greet`)
  await once(client, 'open')
  for (const name of ['Ada', 'Grace']) {
    client.send(name)
    const [reply] = await once(client, 'message')
    assert.equal(reply.toString(), `Hello, ${name}!`)
  }
  client.send('bye')
  const [code, reason] = await once(client, 'close')
  assert.deepEqual([code, reason.toString()], [4000, 'bye'])

  const leaving = new WebSocket(`${url.replace('http', 'ws')}/greet`)
  await once(leaving, 'open')
  leaving.close(4001, 'done')
  const [, info] = await once(app.webSockets, 'close')
  assert.deepEqual({ ...info }, { code: 4001, reason: 'done', wasClean: true, cause: 'peer', unread: 0, unsent: 0 })
  await app.close()
}

async function greet (request) {
  const ws = await request.getWebSocketAsync()
  for await (const message of ws) {
    const name = message.getString()
    if (name === 'bye') break
    await ws.sendAsync(`Hello, ${name}!`)
  }
  if (ws.isClosed) return
  const { cause, wasClean } = await ws.closeAsync(4000, 'bye')
  assert.deepEqual({ cause, wasClean }, { cause: 'local', wasClean: true })
}

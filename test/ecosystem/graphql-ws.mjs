// graphql-ws beside awaited conversations: it writes to the options of the WebSocket server at its first client
import assert from 'node:assert/strict'
import { GraphQLObjectType, GraphQLSchema, GraphQLString } from 'graphql'
import { createClient } from 'graphql-ws'
import { makeHandler } from 'graphql-ws/use/@fastify/websocket'
import { WebSocket } from 'ws'
import { next, open, withApp } from './app.mjs'

const greetings = {
  type: GraphQLString,
  async * subscribe () {
    for (const greetings of ['Hi', 'Hello', 'Good day']) yield { greetings }
  }
}
const schema = new GraphQLSchema({
  query: new GraphQLObjectType({ name: 'Query', fields: { hello: { type: GraphQLString, resolve: () => 'world' } } }),
  subscription: new GraphQLObjectType({ name: 'Subscription', fields: { greetings } })
})

function declare (app) {
  app.get('/graphql', { websocket: true }, makeHandler({ schema }))
  app.get('/chat', async (request) => {
    const ws = await request.getWebSocketAsync({ subprotocol: 'chat.2' })
    for await (const message of ws) await ws.sendAsync(`echo ${message.getString()}`)
  })
}

await withApp(declare, async (url) => {
  const client = createClient({ url: `${url}/graphql`, webSocketImpl: WebSocket, retryAttempts: 0 })
  for await (const result of client.iterate({ query: '{ hello }' })) assert.equal(result.data.hello, 'world')
  const received = []
  for await (const result of client.iterate({ query: 'subscription { greetings }' })) received.push(result.data.greetings)
  assert.deepEqual(received, ['Hi', 'Hello', 'Good day'])

  const chat = await open(`${url}/chat`, ['chat.1', 'chat.2'])
  assert.equal(chat.protocol, 'chat.2')
  chat.send('hello')
  assert.equal(await next(chat), 'echo hello')
  await client.dispose()
})

// The same from CommonJS, both ways that TypeScript has to require an ES module
import Fastify = require('fastify')
import websocketAsync, { type AsyncWebSocket, type WebSocketMessage } from 'fastify-websocket-async'
import plugin = require('fastify-websocket-async')

declare module 'fastify-websocket-async' {
  interface WebSocketData {
    user: string
  }
}

const app = Fastify()
app.register(websocketAsync, { maxPayload: 1024 })
app.register(plugin.fastifyWebSocketAsync)
app.register(plugin.default)

app.get('/chat', async (request) => {
  const ws: AsyncWebSocket = await request.getWebSocketAsync()
  ws.data.user = 'ada'
  let message: WebSocketMessage | null
  while ((message = await ws.receiveMessageAsync({ timeout: 30_000 })) !== null) {
    await ws.sendAsync(`${message.sender.data.user.toUpperCase()}: ${message.getString()}`)
  }
  return ws.closeAsync()
})

app.get('/events', { websocket: true }, (socket) => {
  socket.on('message', (data) => socket.send(data.toString()))
})

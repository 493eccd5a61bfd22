import type { FastifyInstance } from 'fastify'
import type {} from '../index.js' // in your app: 'fastify-websocket-async'

/** Answers every message until no message has come for 30 seconds. */
export function echo (app: FastifyInstance): void {
  app.get('/connect', async (request) => {
    const ws = await request.getWebSocketAsync()

    let message
    while ((message = await ws.receiveMessageAsync({ timeout: 30_000 })) !== null) {
      request.log.info(`Received message: ${message.getString()}`)
      await ws.sendAsync('Hello!')
    }

    return ws.closeAsync()
  })
}

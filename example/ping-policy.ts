import type { FastifyInstance } from 'fastify'
import type {} from '../index.js' // in your app: 'fastify-websocket-async'

/**
 * Echoes every message, and sends pings so that no proxy closes a quiet connection.
 * @param interval the time between two pings, in ms
 */
export function pingPolicy (app: FastifyInstance, interval = 5_000): void {
  app.get('/ping', async (request) => {
    const ws = await request.getWebSocketAsync()
    ws.pingPolicy.start({ interval, dataMessage: '%ping%' })

    for await (const message of ws) {
      await ws.sendAsync(message.isBinary ? message.bytes : message.getString())
    }
  })
}

import type { FastifyInstance } from 'fastify'
import type {} from '../index.js' // in your app: 'fastify-websocket-async'

/**
 * Echoes every message, and pings so that no proxy takes a quiet connection for a dead one.
 * @param interval between two pings, in ms
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

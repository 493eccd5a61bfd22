import { readFile } from 'node:fs/promises'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import { Redis } from 'ioredis'
import mqemitterRedis from 'mqemitter-redis'
import websocketAsync from '../../index.js' // in your app: 'fastify-websocket-async'
import { chat } from '../chat.js'
import { MemoryStore, RedisStore } from './store.js'

export interface ChatOptions extends FastifyServerOptions {
  /** The port of a Redis on this machine, through which several processes are one chat. */
  redisPort?: number | undefined
}

/** An app with the chat, and a page for it at `/`. */
export async function buildServer ({ redisPort, ...options }: ChatOptions = {}): Promise<FastifyInstance> {
  const page = await readFile(new URL('page.html', import.meta.url))
  const app = Fastify(options)

  if (redisPort === undefined) {
    await app.register(websocketAsync, { maxPayload: 4096 })
    chat(app, new MemoryStore())
  } else {
    const options = { host: '127.0.0.1', port: redisPort, enableAutoPipelining: true, lazyConnect: true, keepAlive: 10_000 }
    // The connections of the emitter retry for ever. The one of the store fails at once, so no chat waits for a Redis that is gone or silent
    const forever = { ...options, socketTimeout: 10_000, maxRetriesPerRequest: null }
    const pubConn = new Redis(forever)
    const subConn = new Redis({ ...forever, enableReadyCheck: false, disableClientInfo: true })
    const redis = new Redis({ ...options, maxRetriesPerRequest: 0, enableOfflineQueue: false, commandTimeout: 1000 })
    redis.on('error', (error) => app.log.warn({ err: error }, 'chat store lost'))
    await redis.connect()
    await app.register(websocketAsync, { maxPayload: 4096, pubsub: mqemitterRedis({ pubConn, subConn }) })
    app.addHook('onClose', async () => {
      for (const connection of [redis, pubConn, subConn]) connection.disconnect()
    })
    chat(app, new RedisStore(redis, app.log))
  }

  app.get('/', (_request, reply) => reply.type('text/html; charset=utf-8').send(page))
  return app
}

if (process.argv[1] === import.meta.filename) {
  const { PORT, REDIS_PORT } = process.env
  const app = await buildServer({ logger: true, redisPort: REDIS_PORT ? Number(REDIS_PORT) : undefined })

  // `once`, so that a second Ctrl+C ends the process at once
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => app.close())

  const address = await app.listen({ port: Number(PORT || 3000), host: '127.0.0.1' })
  console.log(`Chat at ${address}/`)
}

import { readFile } from 'node:fs/promises'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import websocketAsync from '../index.js' // in your app: 'fastify-websocket-async'
import { dialogue } from './dialogue.js'
import { echo } from './echo.js'
import { pingPolicy } from './ping-policy.js'

export interface ExampleOptions extends FastifyServerOptions {
  /** The time between two pings on `/ping`, in ms. @default 5000 */
  pingInterval?: number
}

/** An app with the three conversations, and a page at `/` to try them on. */
export async function buildServer ({ pingInterval, ...options }: ExampleOptions = {}): Promise<FastifyInstance> {
  const page = await readFile(new URL('page.html', import.meta.url))
  const app = Fastify(options)
  await app.register(websocketAsync)

  app.get('/', (_request, reply) => reply.type('text/html; charset=utf-8').send(page))
  echo(app)
  dialogue(app)
  pingPolicy(app, pingInterval)
  return app
}

import { once } from 'node:events'
import Fastify from 'fastify'
import websocketAsync from 'fastify-websocket-async'
import { WebSocket } from 'ws'

/** For an app that may stall: a ping would read on, and hide it. */
export const QUIET = { keepAlive: false }

/** Runs `converse` with the URL of an app with the plugin and the given routes, and closes the app. */
export async function withApp (declare, converse, { logger = false, ...options } = {}) {
  const app = Fastify({ logger })
  await app.register(websocketAsync, options)
  await declare(app)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  await converse(url.replace('http', 'ws'), app)
  await app.close()
}

/** An open client of `ws`. */
export async function open (url, ...args) {
  const client = new WebSocket(url, ...args)
  await once(client, 'open')
  return client
}

/** The next message, as text. */
export async function next (client) {
  const [data] = await once(client, 'message')
  return data.toString()
}

/** Resolves when `isTrue` is, which is asked at every `event` of the emitter. */
export async function until (emitter, event, isTrue) {
  if (isTrue()) return
  await new Promise((resolve) => {
    emitter.on(event, function onEvent () {
      if (!isTrue()) return
      emitter.off(event, onEvent)
      resolve()
    })
  })
}

/** The lines of a logger, which hold those from `level` on. */
export function captureLog (level) {
  const lines = []
  return { lines, logger: { level, stream: { write (line) { lines.push(JSON.parse(line)) } } } }
}

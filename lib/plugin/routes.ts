import type { WebsocketHandler } from '@fastify/websocket'
import type { FastifyInstance, FastifyRequest, RouteHandlerMethod, RouteOptions } from 'fastify'
import type { WebSocket } from 'ws'
import { logForeign } from '../base/log.js'
import { kAwaitable } from '../upgrade/attempt.js'
import { closeAsFailed, getWebSocketAsync, upgradeOf } from '../upgrade/handler-run.js'
import type { Settings } from './options.js'

/** `request.isWebSocketUpgrade` and `request.getWebSocketAsync` */
export function decorateRequests (app: FastifyInstance): void {
  app.addHook('onRequest', (request, reply, done) => {
    if (upgradeOf(request.raw)?.requestOnStart(request, reply) !== false) done()
  })
  app.decorateRequest('isWebSocketUpgrade', { getter () { return upgradeOf(this.raw) !== undefined } })
  app.decorateRequest('getWebSocketAsync', getWebSocketAsync)
}

/** Marks a route whose handler can accept. */
export function markAwaitable (route: RouteOptions): void {
  route.config = { ...route.config, [kAwaitable]: true } as NonNullable<typeof route.config> // a symbol among the app's own keys
}

/**
 * Whether any route that can be upgraded has an `onResponse` hook, its own or one of its scope. The app has to be ready. Fastify
 * has no other public way to ask.
 */
export function hasResponseHooks (app: FastifyInstance): boolean {
  return app.printRoutes({ method: 'GET', includeMeta: ['onResponse'] }).includes('(onResponse) ')
}

/** The handler of a `{ websocket: true }` or `wsHandler` route: it accepts an upgrade first, and hands its socket over. */
export function eventHandler (
  httpHandler: RouteHandlerMethod,
  wsHandler: WebsocketHandler,
  errorHandler: NonNullable<Settings['errorHandler']> = terminateOnError
): RouteHandlerMethod {
  return function (request, reply) {
    const upgrade = upgradeOf(request.raw)
    if (upgrade === undefined) return httpHandler.call(this, request, reply)
    const instance = this as unknown as FastifyInstance // the same instance, with the server's type left open
    return upgrade.run(async () => {
      let result: unknown
      const handleError = async (error: unknown, socket: WebSocket) =>
        errorHandler.call(instance, error as Error, socket, request, reply) // whatever was thrown, as in `@fastify/websocket`
      const connection = await upgrade.accept(request, undefined, (connection) => {
        const { socket, closed } = connection
        socket.on('error', (error) => { handleError(error, socket).catch((failure: unknown) => closeAsFailed(connection, failure)) })
        result = promiseOf(() => wsHandler.call(instance, socket, request) ?? closed) // without a promise it ends the connection itself
      })
      try {
        await result
      } catch (error) {
        if (connection.isAwaited) throw error
        await handleError(error, connection.socket)
      }
    })
  }
}

/** Calls it at once. What it throws rejects the promise. */
async function promiseOf (handler: () => unknown): Promise<unknown> {
  return handler()
}

function terminateOnError (error: Error, socket: WebSocket, request: FastifyRequest): void {
  socket.terminate()
  logForeign(request.log, 'error', { err: error })
}

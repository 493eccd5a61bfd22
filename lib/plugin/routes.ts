import type { WebsocketHandler } from '@fastify/websocket'
import type { FastifyInstance, FastifyRequest, RouteHandlerMethod, RouteOptions } from 'fastify'
import type { WebSocket } from 'ws'
import { errors } from '../base/errors.js'
import { logForeign } from '../base/log.js'
import type { AsyncWebSocket } from '../connection/async-web-socket.js'
import type { AcceptOptions } from '../upgrade/accept-options.js'
import { kAwaitable } from '../upgrade/attempt.js'
import { closeAsFailed, upgradeOf } from '../upgrade/handler-run.js'
import { asksForWebSocket } from '../upgrade/handshake.js'
import type { Settings } from './options.js'

/** `request.isWebSocketUpgrade` and `request.getWebSocketAsync` */
export function decorateRequests (app: FastifyInstance): void {
  app.addHook('onRequest', (request, reply, done) => {
    if (upgradeOf(request.raw)?.attempt?.requestOnStart(request, reply) !== false) done()
  })
  app.decorateRequest('isWebSocketUpgrade', { getter () { return upgradeOf(this.raw) !== undefined } })
  app.decorateRequest('getWebSocketAsync', getWebSocketAsync)
}

function getWebSocketAsync (this: FastifyRequest, options?: AcceptOptions): Promise<AsyncWebSocket> {
  const upgrade = upgradeOf(this.raw)
  const isOpen = upgrade !== undefined && upgrade.attempt === undefined
  const opening = upgrade === undefined
    ? Promise.reject(upgradeRequired(this))
    : upgrade.accept(this, options, startReceiving)
  if (!isOpen) opening.catch(() => {}) // a handler that awaits it in a later turn must not end the process
  return opening
}

function startReceiving (connection: AsyncWebSocket): void {
  connection.startReceiving()
}

// RFC 9110, section 15.5.22: a 426 names the protocol. Node writes the Connection header, because that header also says whether
// the connection stays open. HTTP/2 has neither header.
function upgradeRequired ({ method, url, raw }: FastifyRequest): Error {
  const { upgrade: isUpgrade } = raw as { upgrade?: boolean | null } // Node sets it when it gives the socket to `upgrade` listeners
  if (isUpgrade === true && asksForWebSocket(raw)) return new errors.FST_WSA_UPGRADE_TAKEN(method, url)
  const headers = raw.httpVersionMajor === 1 ? { upgrade: 'websocket' } : {}
  return Object.assign(new errors.FST_WSA_UPGRADE_REQUIRED(method, url), { headers })
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

/** The handler of an ordinary route, which may accept an upgrade. */
export function awaitableHandler (handler: RouteHandlerMethod): RouteHandlerMethod {
  return function (request, reply) {
    const upgrade = upgradeOf(request.raw)
    if (upgrade === undefined) return handler.call(this, request, reply)
    return upgrade.run(() => handler.call(this, request, reply))
  }
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

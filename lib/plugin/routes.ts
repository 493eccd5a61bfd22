import type { WebsocketHandler } from '@fastify/websocket'
import type { FastifyInstance, FastifyRequest, RouteHandlerMethod, RouteOptions } from 'fastify'
import type { WebSocket } from 'ws'
import type { AsyncWebSocket } from '../connection/async-web-socket.js'
import { errors } from '../base/errors.js'
import { asksForWebSocket } from '../upgrade/handshake.js'
import { logForeign } from '../base/log.js'
import type { Settings } from './options.js'
import type { Upgrades } from '../upgrade/listener.js'
import type { AcceptOptions } from '../upgrade/accept-options.js'
import { kAwaitable } from '../upgrade/attempt.js'

type ErrorHandler = NonNullable<Settings['errorHandler']>

/** `request.getWebSocketAsync` */
export function acceptIn (upgrades: Upgrades) {
  return function getWebSocketAsync (this: FastifyRequest, options?: AcceptOptions): Promise<AsyncWebSocket> {
    const upgrade = upgrades.get(this.raw)
    const opening = upgrade === undefined
      ? Promise.reject(upgradeRequired(this))
      : upgrade.accept(this, options, startReceiving)
    if (upgrade === undefined || upgrade.pending !== undefined) opening.catch(() => {}) // a handler that looks at it in a later turn must not end the process
    return opening
  }
}

function startReceiving (connection: AsyncWebSocket): void {
  connection.startReceiving()
}

// RFC 9110, section 15.5.22: a 426 names the protocol. The Connection header is left to Node: whether the connection is
// kept is told by it too. HTTP/2 knows neither header.
function upgradeRequired ({ method, url, raw }: FastifyRequest): Error {
  const { upgrade: isUpgrade } = raw as { upgrade?: boolean | null } // by Node: it gave the socket to `upgrade` listeners
  if (isUpgrade === true && asksForWebSocket(raw)) return new errors.FST_WSA_UPGRADE_TAKEN(method, url)
  const headers = raw.httpVersionMajor === 1 ? { upgrade: 'websocket' } : {}
  return Object.assign(new errors.FST_WSA_UPGRADE_REQUIRED(method, url), { headers })
}

/**
 * Two `onRoute` hooks, for before and after the one of `@fastify/websocket`: that one replaces every handler by one that
 * accepts upgrades at once; these keep the handler as it was declared, and put it back so that it may accept.
 */
export function routeHooks (upgrades: Upgrades, errorHandler: ErrorHandler = terminateOnError) {
  const declared = new WeakMap<RouteOptions, RouteHandlerMethod>()

  function rememberHandler (route: RouteOptions): void {
    declared.set(route, route.handler)
  }

  function putBackHandler (route: RouteOptions): void {
    const handler = declared.get(route) as RouteHandlerMethod // the hook before has just run
    const isEventStyle = route.websocket === true || route.wsHandler !== undefined
    if (isEventStyle && [route.method].flat().every((method) => method === 'HEAD')) return // cannot be upgraded
    const wsHandler = route.websocket === true ? handler as unknown as WebsocketHandler : route.wsHandler // `websocket: true` makes the handler one
    route.handler = wsHandler === undefined
      ? awaitableHandler(upgrades, handler)
      : eventHandler(upgrades, route.handler, wsHandler, errorHandler)
    route.config = { ...route.config, [kAwaitable]: true } as NonNullable<typeof route.config> // a symbol beside the app's own keys
  }

  return { rememberHandler, putBackHandler }
}

/** The handler of an ordinary route: it may accept an upgrade. */
function awaitableHandler (upgrades: Upgrades, handler: RouteHandlerMethod): RouteHandlerMethod {
  return function (request, reply) {
    const upgrade = upgrades.get(request.raw)
    if (upgrade === undefined) return handler.call(this, request, reply)
    return upgrade.run(reply, () => handler.call(this, request, reply))
  }
}

/** The handler of a `{ websocket: true }` or `wsHandler` route: an upgrade is accepted first, its socket handed over. */
function eventHandler (
  upgrades: Upgrades,
  httpHandler: RouteHandlerMethod,
  wsHandler: WebsocketHandler,
  errorHandler: ErrorHandler
): RouteHandlerMethod {
  return function (request, reply) {
    const upgrade = upgrades.get(request.raw)
    if (upgrade === undefined) return httpHandler.call(this, request, reply)
    const instance = this as unknown as FastifyInstance // the same instance, with the server's type left open
    return upgrade.run(reply, async () => {
      let result: unknown
      const handleError = async (error: unknown, socket: WebSocket) =>
        errorHandler.call(instance, error as Error, socket, request, reply) // as upstream: whatever was thrown
      const connection = await upgrade.accept(request, undefined, (connection) => {
        const { socket, closed } = connection
        socket.on('error', (error) => { handleError(error, socket).catch((failure: unknown) => connection.handlerOnThrow(failure)) })
        result = settle(() => wsHandler.call(instance, socket, request) ?? closed) // without a promise it ends it itself
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

async function settle (handler: () => unknown): Promise<unknown> {
  return handler()
}

function terminateOnError (error: Error, socket: WebSocket, request: FastifyRequest): void {
  socket.terminate()
  logForeign(request.log, 'error', { err: error })
}

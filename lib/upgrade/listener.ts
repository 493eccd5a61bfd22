import { IncomingMessage, type Server } from 'node:http'
import type { Socket } from 'node:net'
import { finished } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import type { WebSocket, WebSocketServer } from 'ws'
import { asksForWebSocket } from './handshake.js'
import { logForeign } from '../base/log.js'
import { observed } from '../connection/observed-socket.js'
import { isTruncated, serveAsPlainHttp, socketBehind } from './plain-http.js'
import type { UpgradeContext } from './attempt.js'
import { destroyOnError, isTaken, RawExchange, responseOn } from './raw-exchange.js'
import { Upgrade } from './handler-run.js'

/** Every upgrade request that was routed, by its raw request: noted on it, for a map of thousands costs more memory. */
export class Upgrades {
  readonly #key = Symbol('fastify-websocket-async.upgrade')

  get (raw: IncomingMessage): Upgrade | undefined {
    return noted(raw)[this.#key]
  }

  set (raw: IncomingMessage, upgrade: Upgrade): void {
    noted(raw)[this.#key] = upgrade
  }
}

function noted (raw: IncomingMessage): { [key: symbol]: Upgrade | undefined } {
  return raw as unknown as { [key: symbol]: Upgrade | undefined } // nobody else has the key
}

type UpgradeListener = (raw: IncomingMessage, socket: Socket, head: Buffer) => void

/**
 * The listener for an HTTP server's `upgrade` event. A request for a WebSocket goes through the app's router as any
 * request does; one for something else, such as h2c, is served as if it had not asked.
 */
export function upgradeListener (server: Server, context: UpgradeContext, route: Route): UpgradeListener {
  return function serverOnUpgrade (raw: IncomingMessage, socket: Socket, head: Buffer): void {
    if (!(raw instanceof IncomingMessage)) return takeInjected(context, route, raw, socket, head)
    const isShared = server.listenerCount('upgrade') > 1
    if (!isShared) return take(raw, socket, head, false)
    // Other listeners, such as @fastify/http-proxy's, take what is theirs first, in whichever order we were registered
    socket.on('error', destroyOnError)
    process.nextTick(() => {
      if (!isTaken(raw, socket)) take(raw, socket, head, true)
      if (!socket.destroyed) socket.off('error', destroyOnError)
    })
  }

  function take (raw: IncomingMessage, stream: Socket, head: Buffer, isShared: boolean): void {
    const socket = socketBehind(stream, raw)
    if (stream !== socket) stream.on('error', () => {}) // it repeats those of the socket
    const exchange = new RawExchange(context, { raw, socket, head }, isShared)
    if (isTruncated(exchange)) {
      exchange.endInTurn(431)
    } else if (responseOn(socket) !== undefined) {
      exchange.endInTurn() // the server was still answering requests before it, and answers no more after them
    } else if (stream === socket && asksForWebSocket(raw)) {
      exchange.response.assignSocket(socket)
      route(exchange)
    } else {
      serveAsPlainHttp(server, exchange)
    }
  }
}

type Route = (exchange: RawExchange) => void

/** Sends an upgrade request through the app's router. */
export function upgradeRouter (app: FastifyInstance, upgrades: Upgrades, context: UpgradeContext): Route {
  return function routeUpgrade (exchange) {
    const { raw, response, socket } = exchange
    const upgrade = new Upgrade(context, exchange)
    upgrades.set(raw, upgrade)
    try {
      app.routing(raw, response)
    } catch (error) {
      logForeign(context.log, 'warn', { err: error }, 'websocket upgrade could not be routed')
      if (response.headersSent) socket.destroy()
      else response.writeHead(500).end()
    }
    upgrade.pending?.watch()
  }
}

/** An upgrade made up by an `injectWS`: the request is no message of HTTP, the socket no socket. */
function takeInjected (context: UpgradeContext, route: Route, raw: IncomingMessage, socket: Socket, head: Buffer): void {
  finished(socket, () => socket.destroy()) // unlike a net.Socket it does not close when both its sides have ended
  const exchange = new RawExchange(context, { raw, socket, head })
  const { response } = exchange
  response.assignSocket(socket)
  response.once('prefinish', () => setImmediate(() => {
    response.emit('finish') // there is none on such a stream
    socket.destroy()
  }))
  route(exchange)
}

/**
 * Stands for the HTTP server before `@fastify/websocket`: that one would dispatch upgrades itself, and hears of none.
 * Only its `injectWS` speaks to it, and goes the way of all upgrades.
 */
export function injectionServer (serverOnUpgrade: UpgradeListener): Server {
  const ignore = () => {}
  const emit = (_event: 'upgrade', ...upgrade: Parameters<UpgradeListener>) => serverOnUpgrade(...upgrade)
  return { on: ignore, removeListener: ignore, emit } as unknown as Server // these three are all that is called
}

/** Lets each upgrade choose its subprotocol and its headers, and hear of a handshake that `ws` refuses. */
export function joinServer (server: WebSocketServer, upgrades: Upgrades): void {
  const { options } = server
  options.WebSocket = observed(options.WebSocket as typeof WebSocket) // ws fills it in
  chooseSubprotocol(options, (raw) => upgrades.get(raw)?.pending?.acceptance?.subprotocol)
  server.on('headers', (lines, raw) => { lines.push(...upgrades.get(raw)?.pending?.acceptance?.headerLines ?? []) })
  server.on('wsClientError', (error, _socket, raw) => { upgrades.get(raw)?.pending?.refuseToOpen(error) })
}

/**
 * Lets each upgrade choose its subprotocol. Others write to these options at any time, as graphql-ws does at its first client:
 * what they set chooses where the upgrade has not.
 */
function chooseSubprotocol (options: WebSocketServer['options'], chosenBy: (raw: IncomingMessage) => string | false | undefined): void {
  let others = options.handleProtocols
  const handleProtocols: typeof others = (offered, raw) => chosenBy(raw) ?? (others ?? firstOffered)(offered, raw)
  Object.defineProperty(options, 'handleProtocols', {
    configurable: true,
    enumerable: true,
    get: () => handleProtocols,
    set: (value: typeof others) => { others = value }
  })
}

function firstOffered (offered: Set<string>): string | false {
  const [first = false] = offered
  return first
}

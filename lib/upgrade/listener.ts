import { IncomingMessage, type Server } from 'node:http'
import type { Socket } from 'node:net'
import { finished } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import type { FirstRequests } from '../app/first-requests.js'
import { debug } from '../base/debug.js'
import type { UpgradeContext } from './attempt.js'
import { routeUpgrade } from './handler-run.js'
import { serveAsPlainHttp } from './plain-http.js'
import { asksForWebSocket, destroyOnError, isTaken, isTruncated, RawExchange, responseOn, socketBehind } from './raw-exchange.js'
import { shareTexts } from './shared-texts.js'

/**
 * The listener for an HTTP server's `upgrade` event. A request for a WebSocket goes through the app's router as any
 * request does. A request for something else, such as h2c, is served as if it had no Upgrade header.
 */
export class UpgradeListener {
  readonly #app: FastifyInstance
  readonly #server: Server
  readonly #context: UpgradeContext
  readonly #firstRequests: FirstRequests

  constructor (app: FastifyInstance, server: Server, context: UpgradeContext, firstRequests: FirstRequests) {
    this.#app = app
    this.#server = server
    this.#context = context
    this.#firstRequests = firstRequests
  }

  start (): void {
    this.#server.on('upgrade', this.serverOnUpgrade)
  }

  stop (): void {
    this.#server.off('upgrade', this.serverOnUpgrade)
  }

  readonly serverOnUpgrade = (raw: IncomingMessage, socket: Socket, head: Buffer): void => {
    if (debug.enabled) debug('%s %j: upgrade to %j arrived', raw.method, raw.url, raw.headers.upgrade)
    if (raw instanceof IncomingMessage) this.#takeUnlessTaken(raw, socket, head)
    else this.#takeInjected(raw, socket, head)
    this.#firstRequests.forget(socket)
  }

  #takeUnlessTaken (raw: IncomingMessage, socket: Socket, head: Buffer): void {
    const isShared = this.#server.listenerCount('upgrade') > 1
    if (!isShared) return this.#take(raw, socket, head, false)
    // Other listeners, such as @fastify/http-proxy's, first take what is theirs, whether they were added before or after ours
    socket.on('error', destroyOnError)
    process.nextTick(() => {
      if (!isTaken(raw, socket)) this.#take(raw, socket, head, true)
      else if (debug.enabled) debug('%s %j: taken by another upgrade listener', raw.method, raw.url)
      if (!socket.destroyed) socket.off('error', destroyOnError)
    })
  }

  #take (raw: IncomingMessage, stream: Socket, head: Buffer, isShared: boolean): void {
    shareTexts(raw)
    const socket = socketBehind(stream, raw)
    if (stream !== socket) stream.on('error', () => {}) // it repeats those of the socket
    const exchange = new RawExchange(this.#context, { raw, socket, head }, isShared)
    if (isTruncated(raw, socket)) {
      exchange.endInTurn(431)
    } else if (responseOn(socket) !== undefined) {
      exchange.endInTurn() // the server still answers earlier requests of this connection, and after an upgrade it answers no others
    } else if (stream === socket && asksForWebSocket(raw)) {
      exchange.response.assignSocket(socket)
      routeUpgrade(this.#app, this.#context, exchange)
    } else {
      serveAsPlainHttp(this.#server, exchange)
    }
  }

  /** Takes an upgrade that an `injectWS` made up: the request is no message of Node, and the socket no socket. */
  #takeInjected (raw: IncomingMessage, socket: Socket, head: Buffer): void {
    finished(socket, () => socket.destroy()) // unlike a net.Socket it does not close when both its sides have ended
    const exchange = new RawExchange(this.#context, { raw, socket, head })
    const { response } = exchange
    response.assignSocket(socket)
    response.once('prefinish', () => setImmediate(() => {
      response.emit('finish') // on such a stream the response never emits it
      socket.destroy()
    }))
    routeUpgrade(this.#app, this.#context, exchange)
  }
}

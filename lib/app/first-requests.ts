import { Server as HttpServer } from 'node:http'
import { Server as HttpsServer } from 'node:https'
import type { Duplex } from 'node:stream'

/**
 * The TCP connections on which no complete request head has arrived yet. Node counts them as active, so a server that closes
 * waits for them up to its `headersTimeout`. They are not closed at once, because the first request may be on its way, and the
 * client should get its answer: an upgrade gets 503.
 */
export class FirstRequests {
  readonly #server: HttpServer
  readonly #waiting = new Set<Duplex>()
  readonly #socketOnClose: (this: Duplex) => void

  constructor (server: HttpServer) {
    const forget = (socket: Duplex) => this.forget(socket)
    this.#server = server
    this.#socketOnClose = function () { forget(this) }
  }

  /** Does nothing for an HTTP/2 server: its connections carry many requests, and it closes them in its own way. */
  watch (): void {
    const server: unknown = this.#server // its type stands for every kind of server
    if (!(server instanceof HttpServer || server instanceof HttpsServer)) return
    server.on(server instanceof HttpsServer ? 'secureConnection' : 'connection', (socket) => this.#add(socket))
    server.on('request', ({ socket }) => this.forget(socket))
  }

  /** To be called when the first request of the connection has arrived. */
  forget (socket: Duplex): void {
    if (this.#waiting.delete(socket)) socket.off('close', this.#socketOnClose)
  }

  /** Destroys the connections that are still waiting after `delay` ms, unless the server has closed by then. */
  destroyIn (delay: number): void {
    const timer = setTimeout(() => { for (const socket of this.#waiting) socket.destroy() }, delay).unref()
    this.#server.once('close', () => clearTimeout(timer))
  }

  #add (socket: Duplex): void {
    if (this.#waiting.has(socket)) return // a socket can be given to the server again, as for h2c
    this.#waiting.add(socket)
    socket.on('close', this.#socketOnClose)
  }
}

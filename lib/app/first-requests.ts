import { Server as HttpServer } from 'node:http'
import { Server as HttpsServer } from 'node:https'
import type { Duplex } from 'node:stream'

/**
 * Connections on which no request head has arrived as a whole. Node counts them as active, so a server that closes waits for
 * them as long as its `headersTimeout` allows. What they want, such as an upgrade, is not known yet, and a server that closes
 * would refuse it.
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

  /** HTTP/2 is left alone: it has many requests on one connection, and closes that in a way of its own. */
  watch (): void {
    const server: unknown = this.#server // its type stands for every kind of server
    if (!(server instanceof HttpServer || server instanceof HttpsServer)) return
    server.on(server instanceof HttpsServer ? 'secureConnection' : 'connection', (socket) => this.#add(socket))
    server.on('request', ({ socket }) => this.forget(socket))
  }

  /** The first request of the connection is there. */
  forget (socket: Duplex): void {
    if (this.#waiting.delete(socket)) socket.off('close', this.#socketOnClose)
  }

  /** Disconnects those that are left after `delay` ms, unless the server has closed by then. */
  destroyIn (delay: number): void {
    const timer = setTimeout(() => { for (const socket of this.#waiting) socket.destroy() }, delay).unref()
    this.#server.once('close', () => clearTimeout(timer))
  }

  #add (socket: Duplex): void {
    if (this.#waiting.has(socket)) return // it is handed to the server once more
    this.#waiting.add(socket)
    socket.on('close', this.#socketOnClose)
  }
}

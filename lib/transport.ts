import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Publication } from './frame.js'
import type { KeepAliveTransport } from './keep-alive.js'
import type { ObservedSocket } from './observed-socket.js'
import type { Settings } from './options.js'
import { ifWritten, Outbox } from './outbox.js'
import type { SendTransport } from './sender.js'

/**
 * What the sender sees of `ws`. Messages of a server are framed here, where nothing has to be compressed and the class of
 * the socket is not the application's: then `send` may mean more than to frame.
 */
export function sendTransport (socket: ObservedSocket, stream: Duplex, isCompressed: boolean, { server }: Settings): SendTransport {
  const isClient = socket.url !== undefined
  const isFramedHere = !isClient && !isCompressed && server.WebSocket === undefined
  return isFramedHere ? new Outbox(socket, stream) : new SocketTransport(socket, stream)
}

class SocketTransport implements SendTransport {
  readonly #socket: ObservedSocket
  readonly #stream: Duplex

  constructor (socket: ObservedSocket, stream: Duplex) {
    this.#socket = socket
    this.#stream = stream
  }

  get bufferedAmount (): number {
    return this.#socket.bufferedAmount
  }

  send (data: string | Buffer, _size: number, compress: boolean, onFlushed?: () => void): void {
    this.#socket.sendNext(data, { binary: typeof data !== 'string', compress }, onFlushed && ifWritten(this.#stream, onFlushed))
  }

  publish ({ data, size }: Publication): void {
    this.send(data, size, true)
  }

  flush (): void {}

  expectAnswers (): void {}
}

/** What the keep-alive sees of `ws`. */
export class PingTransport implements KeepAliveTransport {
  readonly #socket: ObservedSocket
  readonly #stream: Duplex
  readonly #queue: { look (): void }
  readonly #onResume: (this: object) => void

  constructor (socket: ObservedSocket, stream: Duplex, queue: { look (): void }, onResume: (this: object) => void) {
    this.#socket = socket
    this.#stream = stream
    this.#queue = queue
    this.#onResume = onResume
  }

  get inboundBytes (): number {
    return (this.#stream as Socket).bytesRead // a stream that has none is not kept alive
  }

  get isPaused (): boolean {
    return this.#socket.isPaused
  }

  listen (): void {
    this.#stream.on('resume', this.#onResume)
  }

  ping (payload: string): void {
    this.#socket.ping(payload)
  }

  look (): void {
    this.#queue.look()
  }

  terminate (): void {
    this.#socket.terminate('keep-alive')
  }
}

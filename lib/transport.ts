import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'
import type { KeepAliveTransport } from './keep-alive.js'
import type { ObservedSocket } from './observed-socket.js'
import type { Settings } from './options.js'
import { Outbox } from './outbox.js'
import type { SendTransport } from './sender.js'

type OnWritten = ((error?: Error | null) => void) | undefined

/**
 * What the sender sees of `ws`. Messages of a server are framed here, where nothing has to be compressed and the class of
 * the socket is not the application's: then `send` may mean more than to frame.
 */
export function sendTransport (socket: ObservedSocket, stream: Duplex, { server }: Settings): SendTransport {
  const isClient = socket.url !== undefined
  const isFramedHere = !isClient && socket.extensions === '' && server.WebSocket === undefined
  return isFramedHere ? new FramingTransport(socket, stream) : new SocketTransport(socket, stream)
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

  flush (): void {}

  expectAnswers (): void {}
}

class FramingTransport implements SendTransport {
  readonly #socket: ObservedSocket
  readonly #stream: Duplex
  readonly #outbox: Outbox

  constructor (socket: ObservedSocket, stream: Duplex) {
    this.#socket = socket
    this.#stream = stream
    this.#outbox = new Outbox(stream)
  }

  get bufferedAmount (): number {
    return this.#socket.bufferedAmount + this.#outbox.size
  }

  send (data: string | Buffer, size: number, _compress: boolean, onFlushed?: () => void): void {
    const { sent } = this.#socket
    sent.messages++
    sent.bytes += size
    this.#outbox.add(data, size, onFlushed && ifWritten(this.#stream, onFlushed))
  }

  flush (): void {
    this.#outbox.flush()
  }

  expectAnswers (isMany: boolean): void {
    this.#outbox.isPrompt = !isMany
  }
}

// The write that is under way when the connection is cut off reports no error
function ifWritten (stream: Duplex, onFlushed: () => void): OnWritten {
  return (error) => {
    if (error == null && !stream.destroyed) onFlushed()
  }
}

/** What the keep-alive sees of `ws`. */
export function keepAliveTransport (socket: WebSocket, stream: Duplex, look: () => void, terminate: () => void): KeepAliveTransport {
  return {
    get inboundBytes () { return (stream as Socket).bytesRead }, // a stream that has none is not kept alive
    get isPaused () { return socket.isPaused },
    ping: (payload) => socket.ping(payload),
    look,
    terminate
  }
}

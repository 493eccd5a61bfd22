import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Batch } from './batch.js'
import { readFrames, type Publication } from './frame.js'
import type { KeepAliveTransport } from '../connection/keep-alive.js'
import type { ObservedSocket } from '../connection/observed-socket.js'
import type { Settings } from '../plugin/options.js'
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

/** What a message that waits in ws takes beside its payload, in bytes: what it was called with, a header, and their places in the stream. */
const MESSAGE_COST = 512

class SocketTransport implements SendTransport {
  readonly messageCost = MESSAGE_COST
  readonly #socket: ObservedSocket
  readonly #stream: Duplex
  #waiting = 0 // messages since there was none

  constructor (socket: ObservedSocket, stream: Duplex) {
    this.#socket = socket
    this.#stream = stream
  }

  get bufferedAmount (): number {
    return this.#socket.bufferedAmount
  }

  get cost (): number {
    const { bufferedAmount } = this.#socket
    return bufferedAmount === 0 ? 0 : bufferedAmount + this.#waiting * MESSAGE_COST
  }

  send (data: string | Buffer, _size: number, compress: boolean, onFlushed?: () => void): void {
    if (this.#socket.bufferedAmount === 0) this.#waiting = 0
    this.#waiting++
    this.#socket.sendNext(data, { binary: typeof data !== 'string', compress }, onFlushed && ifWritten(this.#stream, onFlushed))
  }

  sendBatch (batch: Batch, onFlushed?: () => void): void {
    let left = batch.count
    for (const data of readFrames(batch.take())) this.send(data, data.length, batch.compress, --left === 0 ? onFlushed : undefined)
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

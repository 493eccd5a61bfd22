import type { Duplex } from 'node:stream'
import type { Batch } from './batch.js'
import { readFrames, type Publication } from './frame.js'
import { ifWritten, OPEN, Outbox, type OutboxSocket } from './outbox.js'
import type { SendTransport } from './sender.js'

/** What is used of a connection's socket. */
interface UnobservedSocket extends OutboxSocket {
  /** Set on a client's socket only. */
  readonly url?: string | undefined
  sendUnobserved (data: string | Buffer, options: { binary: boolean, compress: boolean }, onWritten?: (error?: Error | null) => void): void
}

/**
 * The transport of a connection's messages. A server's messages are framed here, unless they may have to be compressed, or the
 * application has given its own class of sockets, whose `send` may do more than to frame.
 */
export function sendTransport (socket: UnobservedSocket, stream: Duplex, isLeftToWs: boolean): SendTransport {
  const isClient = socket.url !== undefined
  return isClient || isLeftToWs ? new SocketTransport(socket, stream) : new Outbox(socket, stream)
}

/** What a message that waits in `ws` takes beside its payload, in bytes: the arguments of the call, a header, and their places in the stream. */
const MESSAGE_COST = 512

/** Sends through `ws`. */
class SocketTransport implements SendTransport {
  readonly messageCost = MESSAGE_COST
  readonly #socket: UnobservedSocket
  readonly #stream: Duplex
  #waiting = 0 // messages since nothing was waiting

  constructor (socket: UnobservedSocket, stream: Duplex) {
    this.#socket = socket
    this.#stream = stream
  }

  get isOpen (): boolean {
    return this.#socket.readyState === OPEN
  }

  get bufferedAmount (): number {
    return this.#socket.bufferedAmount
  }

  get cost (): number {
    const { bufferedAmount } = this.#socket
    return bufferedAmount === 0 ? 0 : bufferedAmount + this.#waiting * MESSAGE_COST
  }

  offer (data: string | Buffer, size: number, compress: boolean, room: number): boolean {
    if (!this.isOpen || this.cost + size >= room) return false
    this.send(data, size, compress)
    return true
  }

  send (data: string | Buffer, _size: number, compress: boolean, onFlushed?: () => void): void {
    if (this.#socket.bufferedAmount === 0) this.#waiting = 0
    this.#waiting++
    this.#socket.sendUnobserved(data, { binary: typeof data !== 'string', compress }, onFlushed && ifWritten(this.#stream, onFlushed))
  }

  sendBatch (batch: Batch, onFlushed?: () => void): void {
    let left = batch.count
    for (const data of readFrames(batch.take())) this.send(data, data.length, batch.compress, --left === 0 ? onFlushed : undefined)
  }

  publish ({ data, size }: Publication): void {
    this.send(data, size, true)
  }

  flush (): void {}
}

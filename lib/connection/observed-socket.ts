import type { WebSocket } from 'ws'
import type { CloseCause } from '../base/close.js'

/** Who hears first what happens to a socket. */
export interface SocketObserver {
  onMessage (socket: WebSocket, bytes: Buffer, isBinary: boolean): void
  onPong (socket: WebSocket, payload: Buffer): void
  onError (socket: WebSocket, error: Error): void
  onClose (socket: WebSocket, code: number, reason: Buffer): void
  /** The application listens for messages from now on. */
  onListening (socket: WebSocket): void
  /** The application sends a message. What was given to be sent before must go out first. */
  onSending (socket: WebSocket): void
  /** `ws` writes something else: a ping, a pong, a close frame. What was kept to be written must be. */
  onWriting (socket: WebSocket): void
  /** The socket stops to be open because a close frame was written: ours, or the answer to the peer's. */
  onClosing (socket: WebSocket, code: number, reason: string): void
  /** It stops to be open because it is cut off. */
  onTerminating (socket: WebSocket, cause: CloseCause | undefined): void
}

type BinaryType = WebSocket['binaryType'] | 'blob' // the types do not name them all

const BINARY_TYPES = new Set<unknown>(['nodebuffer', 'arraybuffer', 'fragments', 'blob'] satisfies BinaryType[])

export interface ObservedSocket extends WebSocket {
  observer: SocketObserver | undefined
  /** What was sent, by whomever. */
  sentMessages: number
  sentBytes: number
  /** Gives a message to the listeners, and not to the observer. */
  emitMessage (data: Buffer, isBinary: boolean): void
  /** Sends a message of the observer's own. */
  sendNext: WebSocket['send']
  /** @param cause why, where it is not the application's doing */
  terminate (cause?: CloseCause): void
}

/**
 * `ws`'s socket, which counts what it sends, and has an observer in place of listeners, which every connection would pay for.
 * That one is told at once when the socket stops to be open: by itself `ws` is silent until the TCP connection is gone, which
 * takes as long as the peer likes.
 */
export function observed (Base: typeof WebSocket): typeof WebSocket {
  class ObservedWebSocket extends Base {
    observer: SocketObserver | undefined
    sentMessages = 0
    sentBytes = 0

    listenersGet: BinaryType = 'nodebuffer'

    override emit (name: string | symbol, ...args: unknown[]): boolean {
      const { observer } = this
      if (observer !== undefined && isFromWs(this, name, args)) tell(observer, this, name, args)
      if (observer !== undefined && this.listenerCount(name) === 0) return false // an error that nobody else hears is none
      if (name === 'message' && this.listenersGet !== 'nodebuffer') args[0] = converted(args[0], args[1], this.listenersGet)
      return super.emit(name, ...args)
    }

    emitMessage (bytes: Buffer, isBinary: boolean): void {
      super.emit('message', converted(bytes, isBinary, this.listenersGet), isBinary)
    }

    override on (name: string | symbol, listener: (...args: any[]) => void): this {
      super.on(name, listener)
      if (name === 'message') this.observer?.onListening(this)
      return this
    }

    override addListener (name: string | symbol, listener: (...args: any[]) => void): this {
      return this.on(name, listener)
    }

    override prependListener (name: string | symbol, listener: (...args: any[]) => void): this {
      super.prependListener(name, listener)
      if (name === 'message') this.observer?.onListening(this)
      return this
    }

    override send (...args: unknown[]): void {
      if (this.readyState === this.OPEN) this.observer?.onSending(this)
      this.sendNext(...args)
    }

    sendNext (...args: unknown[]): void {
      if (this.readyState === this.OPEN) {
        this.sentMessages++
        this.sentBytes += sizeOf(args[0])
      }
      Reflect.apply(super.send, this, args)
    }

    override ping (...args: unknown[]): void {
      this.observer?.onWriting(this)
      Reflect.apply(super.ping, this, args)
    }

    override pong (...args: unknown[]): void {
      this.observer?.onWriting(this)
      if (this.bufferedAmount > 0) args[0] = ownBytes(args[0]) // the payload of a ping is a view of all that was read with it
      Reflect.apply(super.pong, this, args)
    }

    override terminate (cause?: CloseCause): void {
      const wasOpen = this.readyState === this.OPEN
      this.observer?.onWriting(this)
      super.terminate()
      if (wasOpen) this.observer?.onTerminating(this, cause)
    }

    override close (code?: number, reason?: string | Buffer): void {
      const wasOpen = this.readyState === this.OPEN
      if (wasOpen) this.observer?.onWriting(this)
      super.close(code, reason)
      if (wasOpen && this.readyState !== this.OPEN) this.observer?.onClosing(this, code ?? 1005, String(reason ?? ''))
    }
  }

  // The types say that it is a property of the base class, which no accessor may override
  Object.defineProperty(ObservedWebSocket.prototype, 'binaryType', binaryType)
  return ObservedWebSocket
}

/**
 * What the listeners for `message` get for a binary message. The socket itself stays at Buffers, so that the observer gets and
 * counts those whatever a library asks for.
 */
const binaryType: PropertyDescriptor & ThisType<{ listenersGet: BinaryType }> = {
  configurable: true,
  enumerable: true,
  get () { return this.listenersGet },
  set (type: BinaryType) { if (BINARY_TYPES.has(type)) this.listenersGet = type }
}

/** False for an event that an application emits by hand, as some tests and libraries do: only listeners hear it. */
function isFromWs (socket: WebSocket, name: string | symbol, [first]: unknown[]): boolean {
  if (name === 'close') return socket.readyState === socket.CLOSED
  if (name === 'message' || name === 'pong') return Buffer.isBuffer(first)
  return true
}

function converted (data: unknown, isBinary: unknown, type: BinaryType): unknown {
  if (type === 'nodebuffer' || isBinary !== true || !Buffer.isBuffer(data)) return data
  switch (type) {
    case 'arraybuffer': return data.buffer.slice(data.byteOffset, data.byteOffset + data.length)
    case 'fragments': return [data]
    case 'blob': return new Blob([data as Buffer<ArrayBuffer>]) // what ws reads is never shared
  }
}

function tell (observer: SocketObserver, socket: WebSocket, name: string | symbol, args: any[]): void {
  switch (name) { // with what `ws` emits
    case 'message': return observer.onMessage(socket, args[0], args[1])
    case 'pong': return observer.onPong(socket, args[0])
    case 'error': return observer.onError(socket, args[0])
    case 'close': return observer.onClose(socket, args[0], args[1])
  }
}

/** The same bytes in memory that has no others, where they are a part of some. */
function ownBytes (data: unknown): unknown {
  if (!Buffer.isBuffer(data) || data.length === data.buffer.byteLength) return data
  const bytes = Buffer.allocUnsafeSlow(data.length)
  data.copy(bytes)
  return bytes
}

// What ws takes: strings and numbers, bytes in any wrapping, and Blobs
function sizeOf (data: unknown): number {
  if (typeof data === 'string' || typeof data === 'number') return Buffer.byteLength(String(data))
  const { byteLength, size } = data as Partial<ArrayBuffer & Blob>
  return byteLength ?? size ?? 0
}

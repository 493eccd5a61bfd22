import type { WebSocket } from 'ws'
import { inOwnMemory } from '../base/own-memory.js'

/** What a connection hears of its socket, before any listener does. */
export interface SocketObserver {
  socketOnMessage (bytes: Buffer, isBinary: boolean): void
  socketOnPong (payload: Buffer): void
  socketOnError (error: Error): void
  socketOnClose (code: number, reason: Buffer): void
  /** The application has added a listener for messages. */
  socketOnListening (): void
  /** The application sends a message. Everything that was given to be sent before it must go out first. */
  socketOnSending (): void
  /** A close frame was written: the application's, or `ws`'s answer to the peer's. */
  socketOnClosing (code: number, reason: string): void
  /** The application, or `ws` itself, has terminated the connection. */
  socketOnTerminating (): void
}

type BinaryType = WebSocket['binaryType'] | 'blob' // the types do not name them all

const BINARY_TYPES = new Set<unknown>(['nodebuffer', 'arraybuffer', 'fragments', 'blob'] satisfies BinaryType[])

export interface ObservedSocket extends WebSocket {
  observer: SocketObserver | undefined
  /** Has gathered something to be written, which goes out before `ws` writes anything. */
  gathered: { flush (): void } | undefined
  /** False: the next message to be sent is written at once, which sets this to true. True: messages are gathered into one write. */
  isBatching: boolean
  receivedMessages: number
  receivedBytes: number
  sentMessages: number
  sentBytes: number
  /** Whether the application has put a function of its own in the place of `emit()`. */
  readonly isEmitReplaced: boolean
  /** Emits a message to the listeners only, not to the observer. */
  emitToListeners (bytes: Buffer, isBinary: boolean): void
  /** The same as send(), for messages of the observer itself, which then hears nothing of them. */
  sendUnobserved: WebSocket['send']
}

/**
 * A class of sockets like `ws`'s, which count what passes through them and have an observer. The observer stands in place of
 * listeners, which every connection would pay for, and it hears at once when the socket stops being open: `ws` itself says nothing
 * until the TCP connection is closed, which takes as long as the peer likes.
 */
export function observed (Base: typeof WebSocket): typeof WebSocket {
  class ObservedWebSocket extends Base {
    observer: SocketObserver | undefined
    gathered: { flush (): void } | undefined
    isBatching = false
    receivedMessages = 0
    receivedBytes = 0
    sentMessages = 0
    sentBytes = 0
    binaryTypeOfListeners: BinaryType = 'nodebuffer'

    get isEmitReplaced (): boolean {
      return this.emit !== emit
    }

    override emit (name: string | symbol, ...args: any[]): boolean {
      const { observer } = this
      switch (observer && name) {
        case 'message':
          if (!Buffer.isBuffer(args[0])) break // the application emits it by hand, as some tests and libraries do: only listeners get it
          this.receivedMessages++
          this.receivedBytes += args[0].length
          observer?.socketOnMessage(args[0], args[1])
          break
        case 'pong':
          if (Buffer.isBuffer(args[0])) observer?.socketOnPong(args[0])
          break
        case 'error':
          observer?.socketOnError(args[0])
          break
        case 'close':
          if (this.readyState === this.CLOSED) observer?.socketOnClose(args[0], args[1]) // else it is emitted by hand
      }
      if (observer !== undefined && this.listenerCount(name) === 0) return false // an 'error' without a listener would throw
      if (name === 'message' && this.binaryTypeOfListeners !== 'nodebuffer') args[0] = converted(args[0], args[1], this.binaryTypeOfListeners)
      return super.emit(name, ...args)
    }

    emitToListeners (bytes: Buffer, isBinary: boolean): void {
      super.emit('message', converted(bytes, isBinary, this.binaryTypeOfListeners), isBinary)
    }

    override on (name: string | symbol, listener: (...args: any[]) => void): this {
      super.on(name, listener)
      if (name === 'message') this.observer?.socketOnListening()
      return this
    }

    override addListener (name: string | symbol, listener: (...args: any[]) => void): this {
      return this.on(name, listener)
    }

    override prependListener (name: string | symbol, listener: (...args: any[]) => void): this {
      super.prependListener(name, listener)
      if (name === 'message') this.observer?.socketOnListening()
      return this
    }

    override send (...args: unknown[]): void {
      if (this.readyState === this.OPEN) this.observer?.socketOnSending()
      this.sendUnobserved(...args)
    }

    sendUnobserved (...args: unknown[]): void {
      if (this.readyState === this.OPEN) {
        this.sentMessages++
        this.sentBytes += sizeOf(args[0])
      }
      Reflect.apply(super.send, this, args)
    }

    override ping (...args: unknown[]): void {
      this.gathered?.flush()
      Reflect.apply(super.ping, this, args)
    }

    override pong (...args: unknown[]): void {
      this.gathered?.flush()
      if (this.bufferedAmount > 0 && Buffer.isBuffer(args[0])) args[0] = inOwnMemory(args[0]) // the payload of a ping is a view of the whole read, which would wait with it
      Reflect.apply(super.pong, this, args)
    }

    override close (code?: number, reason?: string | Buffer): void {
      if (this.readyState !== this.OPEN) return super.close(code, reason)
      this.gathered?.flush()
      super.close(code, reason)
      if (this.readyState !== this.OPEN) this.observer?.socketOnClosing(code ?? 1005, String(reason ?? ''))
    }

    override terminate (): void {
      const wasOpen = this.readyState === this.OPEN
      this.gathered?.flush()
      super.terminate()
      if (wasOpen) this.observer?.socketOnTerminating()
    }
  }

  const { emit } = ObservedWebSocket.prototype // before anybody replaces it, as a tracer may

  // Not an accessor of the class, because ws's types declare it as a property, which TypeScript lets no accessor override
  Object.defineProperty(ObservedWebSocket.prototype, 'binaryType', binaryType)
  return ObservedWebSocket
}

/**
 * What listeners for 'message' get for a binary message. `ws` itself goes on with Buffers, which the observer needs, whatever a
 * library asks for.
 */
const binaryType: PropertyDescriptor & ThisType<{ binaryTypeOfListeners: BinaryType }> = {
  configurable: true,
  enumerable: true,
  get () { return this.binaryTypeOfListeners },
  set (type: BinaryType) { if (BINARY_TYPES.has(type)) this.binaryTypeOfListeners = type }
}

function converted (data: unknown, isBinary: unknown, type: BinaryType): unknown {
  if (type === 'nodebuffer' || isBinary !== true || !Buffer.isBuffer(data)) return data
  switch (type) {
    case 'arraybuffer': return data.buffer.slice(data.byteOffset, data.byteOffset + data.length)
    case 'fragments': return [data]
    case 'blob': return new Blob([data as Buffer<ArrayBuffer>]) // what ws reads is never shared
  }
}

/** `ws` sends strings and numbers, bytes in any wrapping, and Blobs. */
function sizeOf (data: unknown): number {
  if (typeof data === 'string' || typeof data === 'number') return Buffer.byteLength(String(data))
  const { byteLength, size } = data as Partial<ArrayBuffer & Blob>
  return byteLength ?? size ?? 0
}

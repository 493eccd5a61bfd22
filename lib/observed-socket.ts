import type { WebSocket } from 'ws'
import type { CloseCause } from './close.js'

/** What was given to be sent past the socket, and must go out before what is sent through it. */
export interface Outgoing {
  /** Called before a message is sent by the application. */
  handOver (): void
  /** Called before `ws` writes anything else: a ping, a pong, a close frame. */
  flush (): void
}

export interface ObservedSocket extends WebSocket {
  /** What was sent, by whomever. */
  sentMessages: number
  sentBytes: number
  outgoing: Outgoing | undefined
  /** The socket stops to be open because a close frame was written: ours, or the answer to the peer's. */
  onClosing: ((this: ObservedSocket, code: number, reason: string) => void) | undefined
  /** It stops to be open because it is cut off. */
  onTerminating: ((this: ObservedSocket, cause?: CloseCause) => void) | undefined
  /** Sends without a word to `outgoing`: for itself. */
  sendNext: WebSocket['send']
  /** @param cause why, where it is not the application's doing */
  terminate (cause?: CloseCause): void
}

/**
 * `ws`'s socket, which counts what it sends and tells at once when it stops to be open: by itself `ws` is silent until the TCP
 * connection is gone, which takes as long as the peer likes.
 */
export function observed (Base: typeof WebSocket): typeof WebSocket {
  return class ObservedWebSocket extends Base {
    sentMessages = 0
    sentBytes = 0
    outgoing: ObservedSocket['outgoing']
    onClosing: ObservedSocket['onClosing']
    onTerminating: ObservedSocket['onTerminating']

    override send (...args: unknown[]): void {
      if (this.readyState === this.OPEN) this.outgoing?.handOver()
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
      this.outgoing?.flush()
      Reflect.apply(super.ping, this, args)
    }

    override pong (...args: unknown[]): void {
      this.outgoing?.flush()
      Reflect.apply(super.pong, this, args)
    }

    override terminate (cause?: CloseCause): void {
      const wasOpen = this.readyState === this.OPEN
      this.outgoing?.flush()
      super.terminate()
      if (wasOpen) this.onTerminating?.call(this as unknown as ObservedSocket, cause)
    }

    override close (code?: number, reason?: string | Buffer): void {
      const wasOpen = this.readyState === this.OPEN
      if (wasOpen) this.outgoing?.flush()
      super.close(code, reason)
      if (wasOpen && this.readyState !== this.OPEN) this.onClosing?.call(this as unknown as ObservedSocket, code ?? 1005, String(reason ?? ''))
    }
  }
}

// What ws takes: strings and numbers, bytes in any wrapping, and Blobs
function sizeOf (data: unknown): number {
  if (typeof data === 'string' || typeof data === 'number') return Buffer.byteLength(String(data))
  const { byteLength, size } = data as Partial<ArrayBuffer & Blob>
  return byteLength ?? size ?? 0
}

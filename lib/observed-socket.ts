import type { WebSocket } from 'ws'

/** What was sent through a socket, by whomever. */
export interface Sent {
  messages: number
  bytes: number
}

/** What was given to be sent past the socket, and must go out before what is sent through it. */
export interface Outgoing {
  /** Called before a message is sent by the application. */
  handOver (): void
  /** Called before `ws` writes anything else: a ping, a pong, a close frame. */
  flush (): void
}

export interface ObservedSocket extends WebSocket {
  readonly sent: Sent
  outgoing: Outgoing | undefined
  /** Sends without a word to `outgoing`: for itself. */
  sendNext: WebSocket['send']
}

/**
 * `ws`'s socket, which counts what it sends, and has an event, `closing`, for the moment at which it stops to be open
 * because a close frame was written (ours, or the answer to the peer's), and one, `terminating`, for when it is cut off. By
 * itself `ws` is silent until the TCP connection is gone, which takes as long as the peer likes.
 */
export function observed (Base: typeof WebSocket): typeof WebSocket {
  return class ObservedWebSocket extends Base {
    readonly sent: Sent = { messages: 0, bytes: 0 }
    outgoing: Outgoing | undefined

    override send (...args: unknown[]): void {
      if (this.readyState === this.OPEN) this.outgoing?.handOver()
      this.sendNext(...args)
    }

    sendNext (...args: unknown[]): void {
      if (this.readyState === this.OPEN) {
        this.sent.messages++
        this.sent.bytes += sizeOf(args[0])
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

    override terminate (): void {
      const wasOpen = this.readyState === this.OPEN
      this.outgoing?.flush()
      super.terminate()
      if (wasOpen) this.emit('terminating')
    }

    override close (code?: number, reason?: string | Buffer): void {
      const wasOpen = this.readyState === this.OPEN
      if (wasOpen) this.outgoing?.flush()
      super.close(code, reason)
      if (wasOpen && this.readyState !== this.OPEN) this.emit('closing', code ?? 1005, String(reason ?? ''))
    }
  }
}

// What ws takes: strings and numbers, bytes in any wrapping, and Blobs
function sizeOf (data: unknown): number {
  if (typeof data === 'string' || typeof data === 'number') return Buffer.byteLength(String(data))
  const { byteLength, size } = data as Partial<ArrayBuffer & Blob>
  return byteLength ?? size ?? 0
}

import type { WebSocket } from 'ws'

/** What was sent through a socket, by whomever. */
export interface Sent {
  messages: number
  bytes: number
}

export type ObservedSocket = WebSocket & { readonly sent: Sent }

/**
 * `ws`'s socket, which counts what it sends, and has an event, `closing`, for the moment at which it stops to be open
 * because a close frame was written (ours, or the answer to the peer's), and one, `terminating`, for when it is cut off. By
 * itself `ws` is silent until the TCP connection is gone, which takes as long as the peer likes.
 */
export function observed (Base: typeof WebSocket): typeof WebSocket {
  return class ObservedWebSocket extends Base {
    readonly sent: Sent = { messages: 0, bytes: 0 }

    override send (...args: unknown[]): void {
      if (this.readyState === this.OPEN) {
        this.sent.messages++
        this.sent.bytes += sizeOf(args[0])
      }
      Reflect.apply(super.send, this, args)
    }

    override terminate (): void {
      const wasOpen = this.readyState === this.OPEN
      super.terminate()
      if (wasOpen) this.emit('terminating')
    }

    override close (code?: number, reason?: string | Buffer): void {
      const wasOpen = this.readyState === this.OPEN
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

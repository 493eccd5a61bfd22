import type { WebSocket } from 'ws'

/**
 * `ws`'s socket with an event, `closing`, for the moment at which it stops to be open because a close frame was
 * written: ours, or the answer to the peer's; and one, `terminating`, for when it is cut off. By itself `ws` is silent
 * until the TCP connection is gone, which takes as long as the peer likes.
 */
export function withClosingEvent (Base: typeof WebSocket): typeof WebSocket {
  return class ClosingWebSocket extends Base {
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

import type { CloseCause, CloseInfo } from '../base/close.js'
import { readForeign } from '../base/log.js'

/** The reason of `ws.signal`. */
class ConnectionEndedError extends Error {
  override readonly name = 'AbortError'
  readonly code = 'ABORT_ERR'

  constructor (cause: CloseInfo) {
    super(`The connection has ended with ${cause.code} (${cause.cause})`, { cause })
  }
}

/**
 * How one connection ends, and who waits to hear of it. It is made when somebody first asks, or when the connection stops being
 * open, so an idle connection does not pay for it.
 */
export class Ending {
  cause: CloseCause = 'connection-lost'
  /** What our own close frame said. */
  sentClose: Pick<CloseInfo, 'code' | 'reason'> | undefined
  error: Error | undefined
  /** Runs until the peer has closed the TCP connection after its end. */
  timer: NodeJS.Timeout | undefined
  info: CloseInfo | null = null
  #closed: Promise<CloseInfo> | undefined
  #resolveClosed: ((info: CloseInfo) => void) | undefined
  #aborter: AbortController | undefined

  get closed (): Promise<CloseInfo> {
    this.#closed ??= this.info !== null
      ? Promise.resolve(this.info)
      : new Promise((resolve) => { this.#resolveClosed = resolve })
    return this.#closed
  }

  get signal (): AbortSignal {
    if (this.#aborter === undefined) {
      this.#aborter = new AbortController()
      if (this.info !== null) this.#aborter.abort(new ConnectionEndedError(this.info))
    }
    return this.#aborter.signal
  }

  /** Whether something was thrown only because `signal` has aborted. */
  isReasonOf (thrown: unknown): boolean {
    const reason: unknown = this.#aborter?.signal.reason
    return reason !== undefined && (thrown === reason || readForeign(thrown, 'cause') === reason)
  }

  /**
   * Puts together the `CloseInfo`.
   * @param code as `ws` has it: the peer's, or 1006 where no close frame came
   * @param reason of the peer's close frame
   * @param broken the error that broke the transport
   */
  describe (code: number, reason: string, broken: Error | null, unread: number, unsent: number): CloseInfo {
    clearTimeout(this.timer)
    const hasPeerClosed = code !== 1006
    if (hasPeerClosed && this.cause === 'connection-lost') {
      // On Bun, ws answers a close frame without a call of close(), so no answer was noticed
      this.cause = 'peer'
      this.sentClose = { code, reason }
    }
    // In newer versions of Node.js a write that is under way when we terminate the connection ourselves fails with ECANCELED
    if (broken !== null && readForeign(broken, 'code') !== 'ECANCELED') this.error ??= broken
    const shown = hasPeerClosed ? undefined : this.sentClose
    const info: CloseInfo & { error?: Error } = {
      code: shown?.code ?? code,
      reason: shown?.reason ?? reason,
      wasClean: hasPeerClosed && this.sentClose !== undefined,
      cause: this.cause,
      unread,
      unsent
    }
    if (this.error !== undefined) info.error = this.error
    this.info = info
    return info
  }

  /** Resolves `closed`, then aborts `signal`. */
  announce (info: CloseInfo): void {
    this.#resolveClosed?.(info)
    this.#aborter?.abort(new ConnectionEndedError(info))
  }
}

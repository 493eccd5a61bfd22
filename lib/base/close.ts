import { show } from './validation.js'
import { errors } from './errors.js'

/**
 * Why a connection ended:
 * - `'peer'`: the client sent a close frame
 * - `'local'`: the application closed it
 * - `'handler-returned'`, `'handler-failed'`: its handler returned, or threw
 * - `'connection-lost'`: the TCP connection ended without a close frame
 * - `'keep-alive'`: the peer showed no sign of life in time
 * - `'slow-consumer'`: the peer read too slowly, and `maxBufferedBytes` were unsent
 * - `'receive-overflow'`: the peer sent more than a paused connection can hold
 * - `'protocol-error'`: the client broke the protocol or a limit of it; `error` tells how
 * - `'shutdown'`: the app is closing
 * - `'replaced'`: another connection came with its identifier
 * - `'terminated'`: the TCP connection was dropped on this side: by the application, or for a flood of pings
 */
export type CloseCause =
  | 'peer'
  | 'local'
  | 'handler-returned'
  | 'handler-failed'
  | 'connection-lost'
  | 'keep-alive'
  | 'slow-consumer'
  | 'receive-overflow'
  | 'protocol-error'
  | 'shutdown'
  | 'replaced'
  | 'terminated'

/** How a connection ended. */
export interface CloseInfo {
  /**
   * The code of the peer's close frame (1005 where it had none), else of ours, else 1006
   * (RFC 6455, sections 7.1.5 and 7.4.1).
   */
  readonly code: number
  /** The reason in the close frame whose code `code` is. */
  readonly reason: string
  /** True where a close frame passed each way. */
  readonly wasClean: boolean
  readonly cause: CloseCause
  /** The error that broke the connection, where there was one. */
  readonly error?: Error
  /**
   * Messages that nobody had received when the connection ended: those that were waiting, which can still be
   * received, and those that came after our own close and were discarded.
   */
  readonly unread: number
  /** Messages that were accepted for sending and never handed to the transport. */
  readonly unsent: number
}

/** A close frame carries at most 125 bytes, of which the code takes two (RFC 6455, section 5.5). */
const MAX_REASON_BYTES = 123

/** RFC 6455, section 7.4, and its registry: 1004 is reserved; 1005, 1006 and 1015 never go on the wire. */
function maySend (code: number): boolean {
  return (code >= 1000 && code <= 1014 && code !== 1004 && code !== 1005 && code !== 1006) ||
    (code >= 3000 && code <= 4999)
}

/**
 * Checks what is to go into a close frame.
 * @throws FST_WSA_INVALID_CLOSE for a code that may not be sent, or a reason of more than 123 bytes
 */
export function assertClose (code: number, reason: string): void {
  if (!Number.isInteger(code) || !maySend(code)) {
    throw new errors.FST_WSA_INVALID_CLOSE(`code ${show(code)}`, 'use 1000 to 1003, 1007 to 1014, or 3000 to 4999')
  }
  if (typeof reason !== 'string') {
    throw new errors.FST_WSA_INVALID_CLOSE(`reason ${show(reason)}`, 'a reason is a string')
  }
  const length = Buffer.byteLength(reason)
  if (length > MAX_REASON_BYTES) {
    throw new errors.FST_WSA_INVALID_CLOSE(`a reason of ${length} bytes`, `${MAX_REASON_BYTES} bytes are the most`)
  }
}

/**
 * Thrown by a handler, it closes the connection with its code and reason instead of 1011. It is no failure:
 * it is not logged as an error.
 */
export class WebSocketCloseError extends Error {
  override readonly name = 'WebSocketCloseError'
  readonly code: number
  readonly reason: string

  /** @throws FST_WSA_INVALID_CLOSE for a code that may not be sent, or a reason of more than 123 bytes */
  constructor (code: number, reason = '', options?: ErrorOptions) {
    assertClose(code, reason)
    super(`The connection is to be closed with ${code}${reason && ` (${reason})`}`, options)
    this.code = code
    this.reason = reason
  }
}

/** The close that a handler asks for by what it has thrown. That may be anything, and reading it may throw: then it asks for none. */
export function closeAskedFor (thrown: unknown): Pick<CloseInfo, 'code' | 'reason'> | undefined {
  try {
    if (!(thrown instanceof WebSocketCloseError)) return undefined
    const { code, reason } = thrown
    assertClose(code, reason) // a subclass may have changed them
    return { code, reason }
  } catch {
    return undefined
  }
}

import { show } from './validation.js'
import { errors } from './errors.js'

/**
 * Why a connection ended:
 * - `'peer'`: the client sent a close frame
 * - `'local'`: the application closed it
 * - `'handler-returned'`, `'handler-failed'`: its handler returned, or threw
 * - `'connection-lost'`: the TCP connection ended without a close frame
 * - `'keep-alive'`: the peer showed no sign of life in time
 * - `'slow-consumer'`: the peer read too slowly, so that `maxBufferedBytes` were unsent
 * - `'receive-overflow'`: the peer sent more than a paused connection can hold
 * - `'protocol-error'`: the client broke the protocol or one of its limits; `error` says how
 * - `'shutdown'`: the app is closing
 * - `'replaced'`: a new connection has its identifier
 * - `'terminated'`: this side dropped the TCP connection: the application did, or `ws` because of a flood of pings
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
   * The code of the peer's close frame, or 1005 if that had none. Without a close frame of the peer it is the code of ours, and
   * without either it is 1006 (RFC 6455, sections 7.1.5 and 7.4.1).
   */
  readonly code: number
  /** The reason in the close frame that `code` is from, or `''`. */
  readonly reason: string
  /** Whether both sides sent a close frame. */
  readonly wasClean: boolean
  readonly cause: CloseCause
  /** The error that broke the connection, if there was one. */
  readonly error?: Error
  /**
   * How many messages nobody had received when the connection ended: those that were waiting, which can still be received, and
   * those that came after our own close, which were discarded.
   */
  readonly unread: number
  /** How many messages were accepted for sending and never handed to the transport. */
  readonly unsent: number
}

/** A close frame has at most 125 bytes, and two of them are the code (RFC 6455, section 5.5). */
const MAX_REASON_BYTES = 123

/** Whether a close frame may have this code. 1004 is reserved; 1005, 1006 and 1015 never go on the wire (RFC 6455, section 7.4, and its registry). */
function maySend (code: number): boolean {
  return (code >= 1000 && code <= 1014 && code !== 1004 && code !== 1005 && code !== 1006) ||
    (code >= 3000 && code <= 4999)
}

/**
 * Checks the code and the reason of a close frame.
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
 * A handler throws it to close the connection with this code and reason, instead of 1011. The handler has not failed then, so nothing
 * is logged as an error.
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

/** The close that a handler asked for by throwing a `WebSocketCloseError`. A handler may throw anything, and reading that may throw: then it asked for none. */
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

import type { CloseInfo } from '../base/close.js'
import type { FrameLimits } from '../receive/frame-reader.js'
import type { ReceiveLimits } from '../receive/receive-limits.js'
import type { SendLimits } from '../send/sender.js'
import type { KeepAliveSettings } from './keep-alive.js'

/** The settings of a connection. */
export interface ConnectionSettings {
  readonly receiveLimits: ReceiveLimits
  readonly receiveTimeout: number
  readonly sendLimits: SendLimits
  readonly slowConsumer: 'close' | 'drop'
  readonly keepAlive: KeepAliveSettings | null
  /** The close frame while the app closes. */
  readonly shutdown: Pick<CloseInfo, 'code' | 'reason'>
  /** Options of the `ws` server. */
  readonly server: FrameLimits & {
    readonly closeTimeout: number
    readonly allowSynchronousEvents?: boolean | undefined
    readonly WebSocket?: unknown
  }
}

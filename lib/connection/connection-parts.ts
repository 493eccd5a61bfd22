import type { Duplex } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import type { CloseInfo } from '../base/close.js'
import type { Amount } from '../receive/receive-limits.js'
import type { Subscriber, Topics } from '../topics/topics.js'
import type { ConnectionSettings } from './connection-settings.js'
import type { ObservedSocket } from './observed-socket.js'
import type { TimerWheel } from './timer-wheel.js'

/** The app, as its connections see it. */
export interface ConnectionOwner<C extends Subscriber> {
  readonly lifecycle: {
    /** Whether the app is closing. */
    readonly isClosing: boolean
  }
  /** @internal `null` for the client of a test, which cannot subscribe. */
  readonly topics: Topics<C> | null
  /** Ticks twice in an interval of the keep-alive. */
  readonly wheel: TimerWheel | null
  /** Called once, when the connection has ended and before `closed` resolves. */
  delete (connection: C, closeInfo: CloseInfo, traffic: Traffic): void
  /** A message that came, or one that was to be sent, was dropped. */
  dropped (connection: C, direction: 'in' | 'out', reason: string, bytes: number): void
}

/** What passed through a connection. */
export interface Traffic {
  readonly received: Amount
  readonly sent: Amount & { readonly dropped: number }
}

/** What a connection is made of. */
export interface ConnectionParts<C extends Subscriber> {
  readonly socket: ObservedSocket
  readonly transport: Duplex
  readonly request: FastifyRequest
  readonly settings: ConnectionSettings
  readonly identifier: string | null
  readonly owner: ConnectionOwner<C>
}

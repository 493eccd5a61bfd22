import { EventEmitter } from 'node:events'
import type { FastifyBaseLogger } from 'fastify'
import { assertOptions, invalidArgument, type Names } from '../base/validation.js'
import { Bus, type BusState, type PublicationGap, type PubSub } from '../topics/bus.js'
import { assertClose, type CloseInfo } from '../base/close.js'
import { AsyncWebSocket } from '../connection/async-web-socket.js'
import type { Traffic } from '../connection/connection-parts.js'
import { debug } from '../base/debug.js'
import { diagnostics } from '../base/diagnostics.js'
import { logForeign } from '../base/log.js'
import type { KeepAliveSettings } from '../connection/keep-alive.js'
import type { Lifecycle } from './lifecycle.js'
import { refuseCall } from '../base/rejection.js'
import { TimerWheel } from '../connection/timer-wheel.js'
import { toSendable, type Sendable } from '../send/sendable.js'
import type { SendLimits } from '../send/sender.js'
import { assertTopic, Topics, type Delivery } from '../topics/topics.js'

/** The events of a `WebSocketCollection`. */
export interface WebSocketCollectionEvents {
  /** A connection was opened. Its handler does not have it yet. */
  open: [connection: AsyncWebSocket]
  /** A connection has ended. */
  close: [connection: AsyncWebSocket, closeInfo: CloseInfo]
  /** With `pubsub`: publications of another node did not reach this one. */
  gap: [gap: PublicationGap]
}

/** The result of a publication. */
export interface PublishResult extends Delivery {
  /**
   * `'ok'` if the broker has confirmed the publication, and always without `pubsub`. Else an error with the code
   * `FST_WSA_BUS_LOST`, which says why other nodes may not get it.
   */
  readonly bus: BusState
}

export interface PublishOptions {
  /** A subscriber that does not get the publication, such as the connection whose message it is. */
  readonly except?: AsyncWebSocket | undefined
}

/** The settings that the collection uses. */
export interface CollectionSettings {
  readonly keepAlive: Pick<KeepAliveSettings, 'interval'> | null
  readonly pubsub: PubSub | null
  readonly sendLimits: Pick<SendLimits, 'maxBufferedBytes'>
}

const PUBLISH_OPTIONS: Names<PublishOptions> = { except: true }

/**
 * The connections of an app. A connection is in it from the upgrade until its TCP connection has closed. `'open'` is emitted
 * before the handler gets the connection, and `'close'` when the connection has ended. If a listener throws, or its promise
 * rejects, the error is logged and no connection is affected.
 */
export class WebSocketCollection extends EventEmitter<WebSocketCollectionEvents> implements Iterable<AsyncWebSocket> {
  /** @internal */
  readonly lifecycle: Lifecycle
  /** @internal */
  readonly topics: Topics<AsyncWebSocket>
  /** @internal */
  readonly bus: Bus | null
  /** @internal */
  readonly wheel: TimerWheel | null
  readonly #byIdentifier = new Map<string, AsyncWebSocket>()
  readonly #log: FastifyBaseLogger

  /** @internal */
  constructor ({ keepAlive, pubsub, sendLimits }: CollectionSettings, lifecycle: Lifecycle, log: FastifyBaseLogger) {
    super()
    this.lifecycle = lifecycle
    this.wheel = keepAlive && new TimerWheel(keepAlive.interval / 2)
    this.#log = log
    this.bus = pubsub && new Bus(pubsub, sendLimits.maxBufferedBytes, this, log)
    this.topics = new Topics(this.bus)
  }

  /** The number of connections. */
  get size (): number {
    return this.lifecycle.connections.size
  }

  /** The connections in the order in which they were opened. They may open and end during the iteration. */
  [Symbol.iterator] (): IterableIterator<AsyncWebSocket> {
    return this.lifecycle.connections.values()
  }

  /** The open connection with this identifier. */
  get (identifier: string): AsyncWebSocket | undefined {
    const connection = this.#byIdentifier.get(identifier)
    return connection?.isClosed === false ? connection : undefined
  }

  /** The first connection for which the predicate returns `true`. */
  find (predicate: (connection: AsyncWebSocket) => boolean): AsyncWebSocket | undefined {
    for (const connection of this) {
      if (predicate(connection)) return connection
    }
    return undefined
  }

  /**
   * Closes each connection as `closeAsync(code, reason)` does, and resolves to their `CloseInfo`s, at the latest after
   * `closeTimeout`. Connections that are opened later stay open.
   * @param code @default 1000, or `shutdown.code` while the app closes
   * @param reason at most 123 bytes. @default '', or `shutdown.reason` while the app closes and no code is given
   * @throws FST_WSA_INVALID_CLOSE, before anything changes
   */
  closeAllAsync (code?: number, reason?: string): Promise<CloseInfo[]> {
    try {
      assertClose(code ?? 1000, reason ?? '')
      return Promise.all(Array.from(this, (connection) => connection.closeAsync(code, reason)))
    } catch (error) {
      return refuseCall(error, this.#log)
    }
  }

  /**
   * Sends the data to every connection that has subscribed to the topic, without waiting for any of them. The data is framed
   * once. Each subscriber gets it in order with its other messages; if it reads too slowly, `slowConsumer` applies to it. With
   * `pubsub`, other nodes deliver the data to their subscribers too: at most once to each, and in the order in which this node
   * publishes. Resolves to the number of subscribers in this process that accepted it and that were too slow, and to whether
   * the broker confirmed it, which takes at most about 2 s.
   * @param options `except`: a connection that does not get the data, such as the one whose message it is
   * @throws FST_WSA_INVALID_ARGUMENT, also if the topic contains `+` or `#`, or has more than 1,024 characters or 64 levels
   */
  publishAsync (topic: string, data: Sendable, options: PublishOptions = {}): Promise<PublishResult> {
    try {
      assertTopic(topic, false)
      return this.#publish(topic, toSendable(data), readExcept(options))
    } catch (error) {
      return refuseCall(error, this.#log)
    }
  }

  async #publish (topic: string, data: string | Buffer, except: AsyncWebSocket | undefined): Promise<PublishResult> {
    const delivery = this.topics.deliver(topic, data, except)
    return { ...delivery, bus: this.bus === null ? 'ok' : await this.bus.publish(topic, data) }
  }

  /** @internal Delivers a publication of another node. */
  receive (topic: string, data: string | Buffer): void {
    this.topics.deliver(topic, data)
  }

  /** @internal Publications of another node did not arrive. */
  gap (gap: PublicationGap): void {
    this.#log.warn(gap, 'websocket publications missed')
    this.#notify(this.#log, 'gap', gap)
  }

  /** @internal */
  add (connection: AsyncWebSocket): void {
    this.lifecycle.trackConnection(connection)
    const { identifier } = connection
    if (identifier !== null) {
      const replaced = this.get(identifier)
      this.#byIdentifier.set(identifier, connection)
      replaced?.closeAsReplaced()
    }
    if (diagnostics.open.hasSubscribers) diagnostics.open.publish({ connection })
    this.#notify(connection.request.log, 'open', connection)
  }

  /** @internal The connection has ended. */
  delete (connection: AsyncWebSocket, closeInfo: CloseInfo, traffic: Traffic): void {
    this.lifecycle.untrackConnection(connection)
    this.topics.leave(connection)
    const { identifier } = connection
    if (identifier !== null && this.#byIdentifier.get(identifier) === connection) this.#byIdentifier.delete(identifier)
    if (debug.enabled) debug('connection %j: closed with %d, cause %s', identifier ?? connection.request.id, closeInfo.code, closeInfo.cause)
    logEnd(connection, closeInfo, traffic)
    if (diagnostics.close.hasSubscribers) diagnostics.close.publish({ connection, closeInfo })
    this.#notify(connection.request.log, 'close', connection, closeInfo)
  }

  /** @internal A message was dropped. */
  dropped (connection: AsyncWebSocket, direction: 'in' | 'out', reason: string, bytes: number): void {
    if (diagnostics.dropped.hasSubscribers) diagnostics.dropped.publish({ connection, direction, reason, bytes })
  }

  #notify<Name extends keyof WebSocketCollectionEvents> (log: FastifyBaseLogger, name: Name, ...args: WebSocketCollectionEvents[Name]): void {
    if (this.listenerCount(name) === 0) return
    for (const listener of this.rawListeners(name)) {
      promiseOf(() => Reflect.apply(listener, this, args)).catch((error: unknown) => {
        logForeign(log, 'error', { err: error }, `listener of webSockets for '${name}' failed`)
      })
    }
  }
}

function readExcept (options: PublishOptions): AsyncWebSocket | undefined {
  if (options instanceof AsyncWebSocket) throw invalidArgument('options', '{ except: ws }', options)
  assertOptions(options, PUBLISH_OPTIONS, '{ except: ws }')
  const { except } = options
  if (except !== undefined && !(except instanceof AsyncWebSocket)) throw invalidArgument('except', 'a connection', except)
  return except
}

function logEnd ({ request, openedAt }: AsyncWebSocket, { code, cause, error }: CloseInfo, { received, sent }: Traffic): void {
  const line = { code, cause, duration: Math.round(performance.now() - openedAt), received, sent }
  if (error === undefined) request.log.info(line, 'websocket closed')
  else logForeign(request.log, 'info', { ...line, err: error }, 'websocket closed')
}

/** Calls the listener at once. Rejects if it throws, or if the promise that it returns rejects. */
async function promiseOf (listener: () => unknown): Promise<unknown> {
  return listener()
}

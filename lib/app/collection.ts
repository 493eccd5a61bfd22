import { EventEmitter } from 'node:events'
import type { FastifyBaseLogger } from 'fastify'
import { assertOptions, invalidArgument, type Names } from '../base/validation.js'
import { Bus, type BusState, type PublicationGap } from '../topics/bus.js'
import { assertClose, type CloseInfo } from '../base/close.js'
import { AsyncWebSocket } from '../connection/async-web-socket.js'
import type { Traffic } from '../connection/live-connection.js'
import { diagnostics } from '../base/diagnostics.js'
import { logForeign } from '../base/log.js'
import type { Settings } from '../plugin/options.js'
import { refuseCall } from '../base/rejection.js'
import { TimerWheel } from '../connection/timer-wheel.js'
import { toSendable, type Sendable } from '../send/sendable.js'
import { assertTopic, Topics, type Delivery } from '../topics/topics.js'

/** What a `WebSocketCollection` tells its listeners. */
export interface WebSocketCollectionEvents {
  open: [connection: AsyncWebSocket]
  close: [connection: AsyncWebSocket, closeInfo: CloseInfo]
  /** With `pubsub`: what another node published was lost on its way to subscribers here. */
  gap: [gap: PublicationGap]
}

/** What became of a publication. */
export interface PublishResult extends Delivery {
  /** `'ok'` when the broker has it, and always without `pubsub`; else why other nodes may not get it: `FST_WSA_BUS_LOST`. */
  readonly bus: BusState
}

export interface PublishOptions {
  /** A subscriber that does not get it. */
  readonly except?: AsyncWebSocket | undefined
}

const PUBLISH_OPTIONS: Names<PublishOptions> = { except: true }

/**
 * The connections of an app, from the upgrade until the TCP connection is gone: `'open'` comes before the handler has its
 * connection, `'close'` when it has ended. What a listener throws, or its promise rejects with, is logged, and harms no connection.
 */
export class WebSocketCollection extends EventEmitter<WebSocketCollectionEvents> implements Iterable<AsyncWebSocket> {
  /** @internal */
  isClosing = false
  /** @internal */
  readonly topics: Topics<AsyncWebSocket>
  /** @internal */
  readonly bus: Bus | null
  /** @internal */
  readonly wheel: TimerWheel | null
  /** @internal A connection has ended. */
  onRemoval: () => void = () => {}
  readonly #connections = new Set<AsyncWebSocket>()
  readonly #byIdentifier = new Map<string, AsyncWebSocket>()
  readonly #log: FastifyBaseLogger

  /** @internal */
  constructor ({ keepAlive, pubsub, sendLimits }: Settings, log: FastifyBaseLogger) {
    super()
    this.wheel = keepAlive && new TimerWheel(keepAlive.interval / 2)
    this.#log = log
    this.bus = pubsub && new Bus(pubsub, sendLimits.maxBufferedBytes, this, log)
    this.topics = new Topics(this.bus)
  }

  /** How many there are. */
  get size (): number {
    return this.#connections.size
  }

  /** In the order in which they were opened. Connections that come or go meanwhile do no harm. */
  [Symbol.iterator] (): IterableIterator<AsyncWebSocket> {
    return this.#connections.values()
  }

  /** The open connection that was accepted with this identifier. */
  get (identifier: string): AsyncWebSocket | undefined {
    const connection = this.#byIdentifier.get(identifier)
    return connection?.isClosed === false ? connection : undefined
  }

  /** The first connection of which the predicate is true. */
  find (predicate: (connection: AsyncWebSocket) => boolean): AsyncWebSocket | undefined {
    for (const connection of this) {
      if (predicate(connection)) return connection
    }
    return undefined
  }

  /**
   * Closes all connections, each as `closeAsync(code, reason)` does, and resolves to how each ended, within `closeTimeout`.
   * Those that are opened later stay.
   * @param code @default 1000, or `shutdown.code` while the app closes
   * @param reason at most 123 bytes. @default ''
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
   * Sends the data to every connection that has subscribed to the topic, and waits for none of them. It is framed once; each
   * gets it in order with all that is sent to it, and `slowConsumer` comes to pass for those too slow. With `pubsub`, other
   * nodes do likewise: at most once to each subscriber, and in the order in which this one publishes. Resolves to how many here
   * took it, how many were too slow, and whether the broker confirmed it, within some 2 s.
   * @param options `except`: a connection that does not get it, such as the one whose message it was
   * @throws FST_WSA_INVALID_ARGUMENT, also for a topic with a `+` or a `#`, of more than 1,024 characters, or of more than 64 levels
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

  /** @internal From another node. */
  receive (topic: string, data: string | Buffer): void {
    this.topics.deliver(topic, data)
  }

  /** @internal */
  gap (gap: PublicationGap): void {
    this.#log.warn(gap, 'websocket publications missed')
    this.#tell(this.#log, 'gap', gap)
  }

  /** @internal */
  add (connection: AsyncWebSocket): void {
    this.#connections.add(connection)
    const { identifier } = connection
    if (identifier !== null) {
      const replaced = this.get(identifier)
      this.#byIdentifier.set(identifier, connection)
      replaced?.closeAsReplaced()
    }
    if (diagnostics.open.hasSubscribers) diagnostics.open.publish({ connection })
    this.#tell(connection.request.log, 'open', connection)
  }

  /** @internal */
  delete (connection: AsyncWebSocket, closeInfo: CloseInfo, traffic: Traffic): void {
    this.#connections.delete(connection)
    this.topics.leave(connection)
    const { identifier } = connection
    if (identifier !== null && this.#byIdentifier.get(identifier) === connection) this.#byIdentifier.delete(identifier)
    this.onRemoval()
    logEnd(connection, closeInfo, traffic)
    if (diagnostics.close.hasSubscribers) diagnostics.close.publish({ connection, closeInfo })
    this.#tell(connection.request.log, 'close', connection, closeInfo)
  }

  /** @internal */
  dropped (connection: AsyncWebSocket, direction: 'in' | 'out', reason: string, bytes: number): void {
    if (diagnostics.dropped.hasSubscribers) diagnostics.dropped.publish({ connection, direction, reason, bytes })
  }

  #tell<Name extends keyof WebSocketCollectionEvents> (log: FastifyBaseLogger, name: Name, ...args: WebSocketCollectionEvents[Name]): void {
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

/** Calls it at once. What it throws, and what its promise rejects with, rejects this one. */
async function promiseOf (listener: () => unknown): Promise<unknown> {
  return listener()
}

import { assertClose, type CloseInfo } from '../base/close.js'
import { refuseCall } from '../base/rejection.js'
import { assertCancelOptions, assertOptions, invalidArgument, type CancelOptions, type Names } from '../base/validation.js'
import type { Message } from '../receive/message.js'
import { toSendable, type Sendable } from '../send/sendable.js'
import { SEND_OPTIONS, type SendOptions } from '../send/sender.js'
import type { SubscribeOptions, SubscribeResult, Topics } from '../topics/topics.js'
import { LiveConnection } from './live-connection.js'
import { PingPolicy } from './ping-policy.js'

/** A message, and the connection on which it came. */
export type WebSocketMessage = Message<AsyncWebSocket>

/** The type of `ws.data`: augment it with what your application keeps on a connection. */
export interface WebSocketData {}

const NO_OPTIONS: CancelOptions = {}

type PingOptions = Pick<CancelOptions, 'timeout'>

const PING_OPTIONS: Names<PingOptions> = { timeout: true }

/** A WebSocket connection that is awaited instead of listened to. */
export class AsyncWebSocket extends LiveConnection implements AsyncIterable<WebSocketMessage, undefined>, AsyncDisposable {
  #data: WebSocketData | undefined

  /** What the application keeps on the connection. Augment the interface `WebSocketData` to give it a type. @default {} */
  get data (): WebSocketData {
    this.#data ??= {}
    return this.#data
  }

  set data (data: WebSocketData) {
    this.#data = data
  }

  /** The subprotocol that was agreed upon, or `''`. */
  get subprotocol (): string {
    return this.socket.protocol
  }

  /** Whether no further message will come. After a `null` it tells the end from a timeout. */
  get hasEnded (): boolean {
    return this._queue.hasEnded
  }

  /** Resolves to how the connection ended, when it has ended. It never rejects. */
  get closed (): Promise<CloseInfo> {
    return this._ending.closed
  }

  /** Bytes that were sent and still wait for their turn or for the network. */
  get bufferedBytes (): number {
    return this._sender.bufferedBytes
  }

  /** Sends messages at an interval, to keep an idle connection open through proxies that count only data. */
  get pingPolicy (): PingPolicy {
    this._lazyPingPolicy ??= new PingPolicy(this)
    return this._lazyPingPolicy
  }

  /** The round trip to the peer in ms, as the last ping measured it, or `null` before the first pong. */
  get latency (): number | null {
    return this._keepAlive.latency
  }

  /**
   * Aborts when the connection has ended, with an `AbortError` whose `cause` is the `CloseInfo`. Give it to everything that the
   * handler should not go on with then, such as `fetch` or a query. A handler that rejects with this error has not failed.
   */
  get signal (): AbortSignal {
    return this._ending.signal
  }

  /**
   * Resolves to the next message in order, or to `null` on timeout, on abort, or at the end. A timeout or an abort ends only this
   * call: no message is lost and the connection stays open. Messages that came before the end are delivered after it.
   * Calls may overlap and are served first come, first served; a send may run meanwhile. After the end a call settles
   * in a later turn of the event loop.
   * @param options `timeout` in ms (@default the plugin's `receiveTimeout`; `0` polls) and `signal`
   * @throws FST_WSA_INVALID_ARGUMENT
   */
  receiveMessageAsync (options: CancelOptions = NO_OPTIONS): Promise<WebSocketMessage | null> {
    try {
      if (options !== NO_OPTIONS) assertCancelOptions(options)
      noteReceive(this)
      return this._queue.receive(options.timeout ?? this._settings.receiveTimeout, options.signal)
    } catch (error) {
      return refuse(this, error)
    }
  }

  /**
   * The next message if it is already here, else `null`. It does not wait, and does not give up its turn of the event loop, so a
   * loop is fastest as `ws.tryReceive() ?? await ws.receiveMessageAsync()`. Calls that wait are served before it.
   */
  tryReceive (): WebSocketMessage | null {
    noteReceive(this)
    return this._queue.poll()
  }

  /** Receives until the connection ends. Leaving the loop closes nothing and loses nothing. */
  [Symbol.asyncIterator] (): AsyncIterator<WebSocketMessage, undefined> {
    return {
      next: () => {
        noteReceive(this)
        return this._queue.next()
      }
    }
  }

  /**
   * Sends a message: a string as text, bytes as binary. Resolves to `true` once the message is with the transport and
   * there is room for more, so awaiting it is back-pressure. Resolves to `false` if the connection is closed or closing,
   * if the message was dropped (`slowConsumer`), or if `timeout` or `signal` ended the call before its message was handed over;
   * later they only end its waiting. Messages go out in the order of the calls, which may overlap and may run while a
   * receive waits; those of one turn of the event loop go out together. Bytes above 16 KiB are not copied: do not change them
   * while `bufferedBytes` is above 0.
   * @throws FST_WSA_INVALID_ARGUMENT
   */
  sendAsync (data: Sendable, options?: SendOptions): Promise<boolean> {
    try {
      const sendable = toSendable(data)
      if (options !== undefined) assertCancelOptions(options, SEND_OPTIONS)
      return this._sender.send(sendable, options) ?? this.drop(sendable)
    } catch (error) {
      return refuse(this, error)
    }
  }

  /**
   * Subscribes to a topic: from now on the connection gets what is published there with `app.webSockets.publishAsync`, until
   * `unsubscribeAsync` or its end. Subscribing again changes nothing. With `pubsub`, publications of other nodes come too once the
   * promise has resolved to `{ bus: 'ok' }`; if the broker does not confirm within about 2 s, `bus` is an error, and they come when
   * the broker is back.
   * @param options `wildcards: true`: in the topic, `+` stands for any one level between slashes, `#` for any number of levels
   * @throws FST_WSA_INVALID_ARGUMENT, also for a `+` or a `#` without that option, because a topic may come from a client, and for
   * more than 1,024 characters, 64 levels or three `#`
   */
  subscribeAsync (topic: string, options?: SubscribeOptions): Promise<SubscribeResult> {
    try {
      return topicsOf(this).subscribe(this, topic, options).then((bus) => ({ bus }))
    } catch (error) {
      return refuse(this, error)
    }
  }

  /**
   * Ends a subscription, which is named as when it was made. If there is none, nothing happens.
   * @throws FST_WSA_INVALID_ARGUMENT
   */
  unsubscribeAsync (topic: string): Promise<void> {
    try {
      topicsOf(this).unsubscribe(this, topic)
      return Promise.resolve()
    } catch (error) {
      return refuse(this, error)
    }
  }

  /**
   * Pings the peer (RFC 6455, section 5.5.2) and resolves to the round trip in ms, or to `null` on timeout or at the end of
   * the connection. Calls may overlap.
   * @param options `timeout` in ms @default 20000
   * @throws FST_WSA_INVALID_ARGUMENT
   */
  pingAsync (options: PingOptions = {}): Promise<number | null> {
    try {
      assertOptions(options, PING_OPTIONS, '{ timeout: 20000 }')
      assertCancelOptions(options)
      return this.isClosed ? Promise.resolve(null) : this._keepAlive.ping(options.timeout ?? 20_000)
    } catch (error) {
      return refuse(this, error)
    }
  }

  /**
   * Sends what is queued, performs the closing handshake (RFC 6455, section 7.1.2) and resolves to how the connection
   * ended. It never hangs: if the peer does not answer within `closeTimeout`, the TCP connection is dropped. Calls may overlap:
   * the first one's code goes out, and all resolve to the same `CloseInfo`.
   * @param code 1000 to 1003, 1007 to 1014, or 3000 to 4999. @default 1000, or `shutdown.code` while the app closes
   * @param reason at most 123 bytes. @default ''
   * @throws FST_WSA_INVALID_CLOSE, before anything changes
   */
  closeAsync (code?: number, reason?: string): Promise<CloseInfo> {
    try {
      assertClose(code ?? 1000, reason ?? '')
      this.closeWith(code, reason, 'local')
      return this._ending.closed
    } catch (error) {
      return refuse(this, error)
    }
  }

  /** Drops the TCP connection, so the peer sees 1006. Unsent messages are lost, and counted in `closeInfo.unsent`. */
  terminate (): void {
    this.terminateWith('terminated')
  }

  /**
   * For `await using`: closes with 1000 after the scope has ended, and does not wait for it. If an error is leaving the handler,
   * the error chooses the code, unless the error waits on its way out for something else that is disposed of.
   */
  async [Symbol.asyncDispose] (): Promise<void> {
    // While an error passes through here nothing shows it. The handler's rejection comes before the next turn of the event loop
    setImmediate(() => this.closeWith(undefined, undefined, 'local'))
  }
}

/** From the first receive on, messages go to receives, whoever listens to the socket. */
function noteReceive (connection: AsyncWebSocket): void {
  if (connection._reader === 'awaited') connection._reader = 'receiving'
}

/** Rejects a call with the mistake of its caller. A test's client has no logger: there an unhandled rejection fails the test, as it should. */
function refuse ({ request }: AsyncWebSocket, error: unknown): Promise<never> {
  return request === undefined ? Promise.reject(error) : refuseCall(error, request.log)
}

function topicsOf ({ _owner: { topics } }: AsyncWebSocket): Topics<LiveConnection> {
  if (topics === null) throw invalidArgument('this', 'a connection of the server, for a client subscribes to nothing', 'a client')
  return topics
}

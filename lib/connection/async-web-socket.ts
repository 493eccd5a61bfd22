import type { Duplex } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import type { WebSocket } from 'ws'
import { assertCancelOptions, assertOptions, invalidArgument, type CancelOptions, type Names } from '../base/validation.js'
import { assertClose, closeAskedFor, ConnectionEndedError, describeEnd, type CloseCause, type CloseInfo } from '../base/close.js'
import { feedFrames } from '../receive/frame-feed.js'
import type { Publication } from '../send/frame.js'
import { KeepAlive } from './keep-alive.js'
import { logForeign } from '../base/log.js'
import { Message } from '../receive/message.js'
import type { ObservedSocket, SocketObserver } from './observed-socket.js'
import type { Settings } from '../plugin/options.js'
import { PingPolicy } from './ping-policy.js'
import { ReceiveQueue, type Amount } from '../receive/receive-queue.js'
import { refuseCall } from '../base/rejection.js'
import type { Rounds } from './timer-wheel.js'
import { NOT_SENT, SEND_OPTIONS, Sender, toSendable, type Sendable, type SendOptions, type SendTransport } from '../send/sender.js'
import type { SubscribeOptions, SubscribeResult, Topics } from '../topics/topics.js'
import { PingTransport, sendTransport } from '../send/socket-transport.js'
import { unmask, type Rest } from '../receive/unmask.js'

/** A message, and the connection on which it came. */
export type WebSocketMessage = Message<AsyncWebSocket>

/** The type of `ws.data`: augment it with what your application keeps on a connection. */
export interface WebSocketData {}

/** Where a connection is at home, and hears of the app. */
export interface ConnectionOwner {
  readonly isClosing: boolean
  /** @internal `null`: it is a client. */
  readonly topics: Topics<AsyncWebSocket> | null
  /** In which its silence is looked at, twice in an interval. */
  readonly rounds: Rounds | null
  /** Called once, when the connection has ended and before `closed` resolves. */
  delete (connection: AsyncWebSocket, closeInfo: CloseInfo, traffic: Traffic): void
  /** A message was dropped: one that came, or one that was to be sent. */
  dropped (connection: AsyncWebSocket, direction: 'in' | 'out', reason: string, bytes: number): void
}

const NO_OPTIONS: CancelOptions = {}

type PingOptions = Pick<CancelOptions, 'timeout'>

const PING_OPTIONS: Names<PingOptions> = { timeout: true }

/** What passed through a connection. */
export interface Traffic {
  readonly received: Amount
  readonly sent: Amount & { readonly dropped: number }
}

/** What a connection is made of. */
export interface ConnectionParts {
  readonly socket: ObservedSocket
  readonly transport: Duplex
  readonly request: FastifyRequest
  readonly settings: Settings
  readonly identifier: string | null
  readonly owner: ConnectionOwner
}

/** A WebSocket connection that is awaited instead of listened to. */
export class AsyncWebSocket implements AsyncIterable<WebSocketMessage, undefined>, AsyncDisposable {
  /** The request that was upgraded. */
  readonly request: FastifyRequest
  /**
   * The socket of `ws` underneath. Messages that are sent through it keep their place among the sends here; a ping, a pong or
   * a close does not wait for those that still wait for room.
   */
  readonly socket: WebSocket
  /** As it was given to `getWebSocketAsync`: `app.webSockets` finds the connection by it. */
  readonly identifier: string | null
  readonly #transport: Duplex
  readonly #settings: Settings
  readonly #owner: ConnectionOwner
  readonly #queue: ReceiveQueue<WebSocketMessage>
  readonly #outgoing: SendTransport
  readonly #sender: Sender
  readonly #keepAlive: KeepAlive
  readonly #wsOnData: unknown // ws's listener for the data of the transport, while it reads
  /** @internal What it is subscribed to. */
  topics: Set<string> | undefined
  /** @internal When it was opened, on the clock of `performance.now()`. */
  readonly openedAt = performance.now()
  #closed: Promise<CloseInfo> | undefined // made when it is asked for
  #resolveClosed: ((info: CloseInfo) => void) | undefined
  // 'open' until a send would be refused, 'closed' when the TCP connection is gone
  #state: 'open' | 'closing' | 'closed' = 'open'
  #cause: CloseCause | undefined // of whoever left 'open' first
  #sentClose: Pick<CloseInfo, 'code' | 'reason'> | undefined // what is in our close frame
  #closeInfo: CloseInfo | null = null
  #error: Error | undefined
  #closeTimer: NodeJS.Timeout | undefined
  #aborter: AbortController | undefined
  #pingPolicy: PingPolicy | undefined
  #data: WebSocketData | undefined
  #isAwaited = false
  #watchers = 0 // `message` listeners that were there before, such as those of a monitor: they take nothing
  #hasReceived = false
  #isDraining = false // the app is closing: what was received may be answered, no more is taken
  #isToldOfEnd = false // by a `null`, while draining
  #rest: Rest = 0 // of what was read
  #receivedMessages = 0
  #receivedBytes = 0
  #discarded = 0 // of the received: they came when no more were taken
  #dropped = 0 // not sent: the peer reads too slowly

  /** @internal */
  constructor (parts: ConnectionParts) {
    const { socket, transport, request, settings, identifier, owner } = parts
    this.request = request
    this.socket = socket
    this.identifier = identifier
    this.#transport = transport
    this.#settings = settings
    this.#owner = owner
    const { receiveLimits, sendLimits, keepAlive } = settings
    const on = AsyncWebSocket.#transportListeners
    const isCompressed = socket.extensions !== ''
    this.#queue = new ReceiveQueue(receiveLimits, socket)
    this.#outgoing = sendTransport(socket, transport, isCompressed, settings)
    this.#sender = new Sender(this.#outgoing, sendLimits)
    // Without a count of its bytes, as under injectWS, nothing tells whether the peer lives
    this.#keepAlive = new KeepAlive(new PingTransport(socket, transport, this.#queue, on.resume), 'bytesRead' in transport ? keepAlive : null, owner.rounds)

    link(socket, this)
    link(transport, this)
    socket.observer = AsyncWebSocket.#observer
    this.#wsOnData = transport.listeners('data').at(-1) // ws has just added it
    const isReadLater = isCompressed || settings.server.allowSynchronousEvents === false // ws takes its time with each message
    const isFed = isReadLater && feedFrames(socket, transport)
    transport.prependListener('data', isFed ? on.fedData : on.data) // before ws, which takes the masks off in place too
    transport.prependListener('end', on.end) // before ws ends our side
    this.#keepAlive.start()
  }

  // The same for all connections: closures of their own would be a quarter of what an idle one costs
  static readonly #observer: SocketObserver = {
    onMessage (socket, bytes, isBinary) { of(socket).#socketOnMessage(bytes, isBinary) },
    onPong (socket, payload) { of(socket).#keepAlive.pongOnReceive(payload.toString('latin1')) },
    onError (socket, error) { of(socket).#socketOnError(error) },
    onClose (socket, code, reason) { of(socket).#socketOnClose(code, reason.toString()) },
    onListening (socket) { of(socket).#socketOnListening() },
    onSending (socket) { of(socket).#sender.handOver() },
    onWriting (socket) { of(socket).#sender.flush() },
    onClosing (socket, code, reason) { of(socket).#socketOnClosing(code, reason) },
    onTerminating (socket, cause = 'terminated') { of(socket).#leaveOpen(cause) }
  }

  static readonly #transportListeners = {
    data (this: object, chunk: Buffer) { of(this).#transportOnData(chunk) },
    fedData (this: object, chunk: Buffer) { of(this).#queue.readOnStart(chunk) },
    end (this: object) { of(this).#transportOnEnd() },
    resume (this: object) { of(this).#keepAlive.readingOnResume() }
  }

  /** The application's own: typed by the interface `WebSocketData`, which an application augments. */
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

  /** True from the first moment at which a send would be refused. */
  get isClosed (): boolean {
    return this.#state !== 'open' || this.socket.readyState !== this.socket.OPEN
  }

  /** No further message will come: after a `null` it tells the end from a timeout. */
  get hasEnded (): boolean {
    return this.#queue.hasEnded
  }

  /** How the connection ended, or `null` while it has not. */
  get closeInfo (): CloseInfo | null {
    return this.#closeInfo
  }

  /** Resolves to how the connection ended, when it has. It never rejects. */
  get closed (): Promise<CloseInfo> {
    this.#closed ??= this.#closeInfo !== null
      ? Promise.resolve(this.#closeInfo)
      : new Promise((resolve) => { this.#resolveClosed = resolve })
    return this.#closed
  }

  /** Bytes that were sent and wait: for their turn, or for the network. */
  get bufferedBytes (): number {
    return this.#sender.bufferedBytes
  }

  /** Keeps an idle connection open through proxies, with messages that carry data. */
  get pingPolicy (): PingPolicy {
    this.#pingPolicy ??= new PingPolicy(this)
    return this.#pingPolicy
  }

  /** The round trip to the peer in ms, as the last ping measured it, or `null` before the first pong. */
  get latency (): number | null {
    return this.#keepAlive.latency
  }

  /**
   * Aborts when the connection has ended, with an `AbortError` whose `cause` is the `CloseInfo`: give it to what the
   * handler should not go on with then. A handler that rejects with it has not failed.
   */
  get signal (): AbortSignal {
    if (this.#aborter === undefined) {
      this.#aborter = new AbortController()
      if (this.#closeInfo !== null) this.#aborter.abort(new ConnectionEndedError(this.#closeInfo))
    }
    return this.#aborter.signal
  }

  /**
   * The next message in order, or `null` on timeout, on abort, or at the end. A timeout or an abort touches only this
   * call: no message is lost and the connection stays open. Messages that came before the end are delivered after it.
   * Calls may overlap and are served first come, first served; a send may run meanwhile. After the end a call settles
   * in a later turn of the event loop.
   * @param options `timeout` in ms (@default the plugin's `receiveTimeout`; `0` polls) and `signal`
   * @throws FST_WSA_INVALID_ARGUMENT
   */
  receiveMessageAsync (options: CancelOptions = NO_OPTIONS): Promise<WebSocketMessage | null> {
    try {
      if (options !== NO_OPTIONS) assertCancelOptions(options)
      this.#onReceive()
      return this.#queue.receive(options.timeout ?? this.#settings.receiveTimeout, options.signal)
    } catch (error) {
      return this.#reject(error)
    }
  }

  /**
   * The next message if it is already here, else `null`: it neither waits nor gives up its turn. For a loop that wants the
   * last bit of speed, as `ws.tryReceive() ?? await ws.receiveMessageAsync()`; those who wait come first.
   */
  tryReceive (): WebSocketMessage | null {
    this.#hasReceived = true
    return this.#queue.poll()
  }

  /** Receives until the connection ends. Leaving the loop closes nothing and loses nothing. */
  [Symbol.asyncIterator] (): AsyncIterator<WebSocketMessage, undefined> {
    return {
      next: () => {
        this.#onReceive()
        return this.#queue.next()
      }
    }
  }

  /**
   * Sends a message: a string as text, bytes as binary. Resolves to `true` once the message is with the transport and
   * there is room for more: awaiting it is back-pressure. Resolves to `false` where the connection is closed or closing,
   * the message was dropped (`slowConsumer`), or `timeout` or `signal` ended the call before its message was handed over;
   * later they end only its waiting. Messages go out in the order of the calls, which may overlap and may run while a
   * receive waits; those of one turn of the event loop go out together. Large bytes are not copied: do not change what was
   * sent while `bufferedBytes` is above 0.
   * @throws FST_WSA_INVALID_ARGUMENT
   */
  sendAsync (data: Sendable, options?: SendOptions): Promise<boolean> {
    try {
      const sendable = toSendable(data)
      if (options !== undefined) assertCancelOptions(options, SEND_OPTIONS)
      if (this.isClosed || options?.signal?.aborted === true) return NOT_SENT
      return this.#sender.send(sendable, options) ?? this.#drop(sendable)
    } catch (error) {
      return this.#reject(error)
    }
  }

  /**
   * Gets what is published on the topic with `app.webSockets.publishAsync`, from now on until `unsubscribeAsync`, or the end of
   * the connection. Again, it changes nothing. With `pubsub`, what other nodes publish comes too once it has resolved to
   * `{ bus: 'ok' }`; where the broker does not confirm it within some 2 s, `bus` is an error, and it comes when the broker is back.
   * @param options `wildcards: true`: in the topic, `+` stands for any one level between slashes, `#` for any number of them
   * @throws FST_WSA_INVALID_ARGUMENT, also for a `+` or a `#` without that, for the topic may be what a client has sent, and for more than
   * 1,024 characters, 64 levels or three `#`
   */
  subscribeAsync (topic: string, options?: SubscribeOptions): Promise<SubscribeResult> {
    try {
      return this.#topics.subscribe(this, topic, options).then((bus) => ({ bus }))
    } catch (error) {
      return this.#reject(error)
    }
  }

  /**
   * Ends a subscription, named as it was begun. Where there is none, it does nothing.
   * @throws FST_WSA_INVALID_ARGUMENT
   */
  unsubscribeAsync (topic: string): Promise<void> {
    try {
      this.#topics.unsubscribe(this, topic)
      return Promise.resolve()
    } catch (error) {
      return this.#reject(error)
    }
  }

  /** @internal Takes what is published; `false`: it reads too slowly. `null`: it has ended. */
  deliver (publication: Publication): boolean | null {
    if (this.isClosed) return null
    if (this.#sender.publish(publication)) return true
    this.#drop(publication.data)
    return false
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
      return this.isClosed ? Promise.resolve(null) : this.#keepAlive.ping(options.timeout ?? 20_000)
    } catch (error) {
      return this.#reject(error)
    }
  }

  /**
   * Sends what is queued, performs the closing handshake (RFC 6455, section 7.1.2) and resolves to how the connection
   * ended. A peer that does not answer within `closeTimeout` is cut off, so it never hangs. Calls may overlap: the
   * first one's code goes out and all resolve to the same.
   * @param code 1000 to 1003, 1007 to 1014, or 3000 to 4999. @default 1000, or `shutdown.code` while the app closes
   * @param reason at most 123 bytes. @default ''
   * @throws FST_WSA_INVALID_CLOSE, before anything changes
   */
  closeAsync (code?: number, reason?: string): Promise<CloseInfo> {
    try {
      assertClose(code ?? 1000, reason ?? '')
      this.#close(code, reason, 'local')
      return this.closed
    } catch (error) {
      return this.#reject(error)
    }
  }

  /** Drops the TCP connection: the peer sees 1006. What is unsent is lost, and counted in `closeInfo.unsent`. */
  terminate (): void {
    this.#cutOff('terminated')
  }

  /**
   * For `await using`: closes with 1000 after the scope has ended, and does not wait for it. Where a throw is leaving
   * the handler, the throw chooses the code; unless, on its way out, it waits for something else that is disposed of.
   */
  async [Symbol.asyncDispose] (): Promise<void> {
    // While a throw passes through here nothing tells of it: the handler's rejection comes first, then this
    setImmediate(() => this.#close(undefined, undefined, 'local'))
  }

  /** @internal Its messages go to the queue, and its handler's promise is its lifetime. */
  get isAwaited (): boolean {
    return this.#isAwaited
  }

  /** @internal From here on messages are queued for `receiveMessageAsync`, and the handler's promise is the lifetime. */
  startReceiving (): void {
    if (this.#isAwaited) return
    this.#isAwaited = true
    this.#watchers = this.socket.listenerCount('message')
  }

  /** @internal */
  handlerOnReturn (): void {
    if (this.#isAwaited) this.#close(undefined, undefined, 'handler-returned')
  }

  /** @internal What a handler throws goes to the log; the peer is told no details. */
  handlerOnThrow (error: unknown): void {
    const asked = closeAskedFor(error)
    const isFailure = asked === undefined && !isDueTo(error, this.#aborter?.signal.reason)
    this.#close(asked?.code ?? 1011, asked?.reason ?? '', 'handler-failed') // before the log: the peer need not wait for it
    const message = asked === undefined ? 'websocket handler failed' : 'websocket handler closed the connection'
    logForeign(this.request.log, isFailure ? 'error' : 'debug', { err: error }, message)
  }

  /** @internal The app is closing: ends now where nothing was begun, else when the handler returns. */
  drain (): void {
    this.#isDraining = true
    this.#isToldOfEnd = this.#queue.isAwaited
    this.#queue.end()
    if (!this.#isAwaited || (!this.#hasReceived && this.#queue.length === 0)) this.closeForShutdown()
  }

  /** @internal */
  closeForShutdown (): void {
    this.#close(undefined, undefined, 'shutdown')
  }

  /** @internal Another connection has its identifier now. */
  replace (): void {
    this.#close(4409, 'replaced', 'replaced')
  }

  /** @internal */
  terminateForShutdown (): void {
    this.#cutOff('shutdown')
  }

  // The client of a test has no logger: there an unhandled rejection fails the test, as it should
  #reject (error: unknown): Promise<never> {
    return this.request === undefined ? Promise.reject(error) : refuseCall(error, this.request.log)
  }

  get #topics (): Topics<AsyncWebSocket> {
    const { topics } = this.#owner
    if (topics === null) throw invalidArgument('this', 'a connection of the server, for a client subscribes to nothing', 'a client')
    return topics
  }

  #onReceive (): void {
    this.#hasReceived = true
    if (this.#isDraining && this.#queue.hasEnded) {
      // Whoever was told of the end and asks again does not mean to return: polling for `isClosed`, say
      if (this.#isToldOfEnd) this.closeForShutdown()
      this.#isToldOfEnd = true
    }
  }

  #close (code: number | undefined, reason: string | undefined, cause: CloseCause): void {
    if (this.isClosed) return
    const { shutdown } = this.#settings
    const isShutdown = this.#owner.isClosing
    this.#sender.handOver()
    this.#leaveOpen(isShutdown && cause !== 'handler-failed' ? 'shutdown' : cause)
    // A paused socket would not see the peer's answer
    if (this.socket.isPaused) this.socket.resume()
    if (code === undefined && isShutdown) this.socket.close(shutdown.code, reason ?? shutdown.reason)
    else this.socket.close(code ?? 1000, reason ?? '')
  }

  /** The one way out of 'open'. Receives and sends that wait are settled; what is queued can still be received. */
  #leaveOpen (cause: CloseCause): void {
    if (this.#state !== 'open') return
    this.#state = 'closing'
    this.#cause = cause
    this.#pingPolicy?.stop()
    this.#keepAlive.stop()
    this.#queue.end()
    this.#sender.end()
  }

  /** Ends it without a close frame. */
  #cutOff (cause: CloseCause): void {
    this.#leaveOpen(cause)
    this.socket.terminate()
  }

  #drop (data: string | Buffer): Promise<boolean> {
    this.#dropped++
    this.#owner.dropped(this, 'out', 'slow-consumer', Buffer.byteLength(data))
    if (this.#settings.slowConsumer === 'close') {
      this.#sender.end() // what waits for its turn would only make the peer later
      this.#close(1013, 'too slow', 'slow-consumer')
    }
    return NOT_SENT
  }

  #discard (bytes: Buffer, reason: string): void {
    this.#discarded++
    this.#owner.dropped(this, 'in', reason, bytes.length)
  }

  #transportOnData (chunk: Buffer): void {
    this.#queue.readOnStart(chunk)
    this.#rest = unmask(chunk, this.#rest)
  }

  #socketOnMessage (bytes: Buffer, isBinary: boolean): void {
    this.#receivedMessages++
    this.#receivedBytes += bytes.length
    if (!this.#isAwaited) return // it is the application's own listener that takes it
    if (this.#isHandedOver) return this.#giveQueueToListeners() // which get this one next
    if (this.#state !== 'open' || this.#isDraining) {
      this.#discard(bytes, 'closing')
    } else if (this.#pingPolicy?.isEcho(bytes, isBinary) !== true && !this.#queue.push(new Message<AsyncWebSocket>(bytes, isBinary, this))) {
      this.#discard(bytes, 'receive-overflow')
      this.#close(1008, 'too many messages', 'receive-overflow')
    }
    this.#outgoing.expectAnswers(this.#queue.length > 0)
  }

  /** Nothing was ever received here, and the application listens to the socket: a library does, say. */
  get #isHandedOver (): boolean {
    return !this.#hasReceived && this.socket.listenerCount('message') > this.#watchers
  }

  // In the next tick, so that the listeners that are added together all get what has waited, and a receive may still come first
  #socketOnListening (): void {
    if (this.#queue.length > 0) process.nextTick(() => this.#giveQueueToListeners())
  }

  #giveQueueToListeners (): void {
    while (this.#isHandedOver && this.#queue.length > 0) {
      const { bytes, isBinary } = this.#queue.poll() as WebSocketMessage // the queue is not empty
      ;(this.socket as ObservedSocket).emitMessage(bytes, isBinary) // it was constructed with one
    }
  }

  /** A close frame went out: ours, or ws's answer to the peer's, before which ws takes its listener off the transport. */
  #socketOnClosing (code: number, reason: string): void {
    this.#sentClose = { code, reason }
    const isAnswer = this.#wsOnData !== undefined && !this.#transport.listeners('data').some((listener) => listener === this.#wsOnData)
    this.#leaveOpen(isAnswer ? 'peer' : 'local')
  }

  #socketOnError (error: Error): void {
    this.#error = error
    // ws answers a violation with a close frame first, which looked like the answer to the peer's
    if (this.#cause === 'peer') this.#cause = 'protocol-error'
  }

  /** The peer has ended its side without a close frame: ws ends ours, and waits for that without a limit. */
  #transportOnEnd (): void {
    if (this.#state !== 'open') return
    this.#sender.flush()
    const { server } = this.#settings
    // Where ws takes its time with each message, some may still be on their way out of it
    const isReadLater = this.socket.extensions !== '' || server.allowSynchronousEvents === false
    if (!isReadLater) this.#leaveOpen('connection-lost')
    this.#closeTimer = setTimeout(() => this.#cutOff('connection-lost'), server.closeTimeout)
  }

  /** The end, in this order: state, timers, who waits, the owner, `closed`, `signal`. */
  #socketOnClose (code: number, reason: string): void {
    if (this.#state === 'closed') return // an application emits it once more by hand
    this.#leaveOpen('connection-lost')
    this.#state = 'closed'
    if (code !== 1006) this.#peerOnClose(code, reason)
    clearTimeout(this.#closeTimer)
    this.#error ??= failureOf(this.#transport)
    const info = this.#closeInfo = describeEnd({
      code,
      reason,
      sent: this.#sentClose,
      cause: this.#cause ?? 'connection-lost',
      error: this.#error,
      unread: this.#queue.length + this.#discarded,
      unsent: this.#sender.unsent
    })
    this.#owner.delete(this, info, this.#traffic())
    this.#resolveClosed?.(info)
    this.#aborter?.abort(new ConnectionEndedError(info))
  }

  /** A close frame came. Bun's ws answers it without a call of `close()`, so it looks as if nothing had gone out. */
  #peerOnClose (code: number, reason: string): void {
    if (this.#cause !== 'connection-lost') return
    this.#cause = 'peer'
    this.#sentClose = { code, reason }
  }

  #traffic (): Traffic {
    const { sentMessages, sentBytes } = this.socket as ObservedSocket // it was constructed with one
    return {
      received: { messages: this.#receivedMessages, bytes: this.#receivedBytes },
      sent: { messages: sentMessages, bytes: sentBytes, dropped: this.#dropped }
    }
  }
}

/** What broke it. A write that was under way when we cut it off ourselves fails too, in newer versions of Node.js. */
function failureOf ({ errored }: Duplex): Error | undefined {
  return errored === null || has(errored, 'code', 'ECANCELED') ? undefined : errored
}

/** Whether a handler that was told of the end has thrown for that reason. */
function isDueTo (thrown: unknown, reason: ConnectionEndedError | undefined): boolean {
  return reason !== undefined && (thrown === reason || has(thrown, 'cause', reason))
}

/** Of an error that is not ours: reading it may throw. */
function has (error: unknown, name: 'cause' | 'code', value: unknown): boolean {
  try {
    return (error as NodeJS.ErrnoException | null | undefined)?.[name] === value
  } catch {
    return false
  }
}

/** On the socket and on the transport of a connection: the connection. */
const kConnection = Symbol('connection')

interface Linked {
  [kConnection]: AsyncWebSocket
}

function link (emitter: object, connection: AsyncWebSocket): void {
  (emitter as Linked)[kConnection] = connection // from here on it is one
}

function of (emitter: object): AsyncWebSocket {
  return (emitter as Linked)[kConnection] // only what was linked has our listeners
}

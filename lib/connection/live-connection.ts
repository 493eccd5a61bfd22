import type { Duplex } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import type { WebSocket } from 'ws'
import type { CloseCause, CloseInfo } from '../base/close.js'
import { Inbound, kOwner } from '../receive/inbound.js'
import { Message } from '../receive/message.js'
import { ReceiveQueue } from '../receive/receive-queue.js'
import type { Publication } from '../send/frame.js'
import { NOT_SENT, Sender } from '../send/sender.js'
import { sendTransport } from '../send/socket-transport.js'
import type { ConnectionOwner, ConnectionParts, Traffic } from './connection-parts.js'
import type { ConnectionSettings } from './connection-settings.js'
import { Ending } from './ending.js'
import { KeepAlive } from './keep-alive.js'
import type { ObservedSocket } from './observed-socket.js'
import type { PingPolicy } from './ping-policy.js'

/**
 * A connection as the plugin sees it: it hears its socket, its transport and the app, and knows whether it is open. An application
 * sees it as an `AsyncWebSocket`, which extends it. The two are one object, because every connection pays for each of its objects.
 */
export abstract class LiveConnection {
  /** The request that was upgraded. The client of a test has none. */
  readonly request: FastifyRequest
  /**
   * The socket of `ws` underneath. Messages that are sent through it keep their place among the sends here. A ping, a pong or a close
   * frame goes out at once, before the messages that still wait for room; after `close()` those are lost (`closeInfo.unsent`).
   */
  readonly socket: WebSocket
  /** As it was given to `getWebSocketAsync`: `app.webSockets` finds the connection by it. */
  readonly identifier: string | null
  /** @internal When it was opened, on the clock of `performance.now()`. */
  readonly openedAt = performance.now()
  /** @internal The topics that it is subscribed to. */
  topics: Set<string> | undefined
  // Other files of the package use these. The underscore keeps them apart from what an application may set on a connection

  /** @internal */
  readonly _settings: ConnectionSettings
  /** @internal */
  readonly _owner: ConnectionOwner<LiveConnection>
  /** @internal */
  readonly _queue: ReceiveQueue<Message<this>>
  /** @internal */
  readonly _inbound: Inbound
  /** @internal */
  readonly _sender: Sender
  /** @internal */
  readonly _keepAlive: KeepAlive
  /** @internal Who gets messages: only listeners of the socket; receives, of which none was called yet; or receives. It never goes back. */
  _reader: 'listeners' | 'awaited' | 'receiving' = 'listeners'
  /** @internal */
  _lazyPingPolicy: PingPolicy | undefined
  // 'draining': the app closes, so new messages are discarded, but sends still work; 'drained': a receive has got `null` for that
  // reason; 'closing': every send is refused; 'closed': there is no TCP connection any more
  #state: 'open' | 'draining' | 'drained' | 'closing' | 'closed' = 'open'
  #lazyEnding: Ending | undefined
  #watchers = 0 // 'message' listeners before `startReceiving()`, such as a monitor's: they do not take the messages from receives
  #discarded = 0 // messages that came when no more were taken
  #dropped = 0 // messages that were not sent, because the peer reads too slowly

  /** @internal */
  constructor ({ socket, transport, request, settings, identifier, owner }: ConnectionParts<LiveConnection>) {
    this.request = request
    this.socket = socket
    this.identifier = identifier
    this._settings = settings
    this._owner = owner
    const { receiveLimits, sendLimits, keepAlive, server } = settings
    this._queue = new ReceiveQueue(receiveLimits, this)
    this._sender = new Sender(sendTransport(socket, transport, this.#isCompressed || server.WebSocket !== undefined), sendLimits)
    this._inbound = new Inbound(this, transport, this.#isEmittedLater ? null : server)
    this._keepAlive = new KeepAlive(this, this._inbound.isCounted ? keepAlive : null, owner.wheel)
    socket.observer = this
    this._keepAlive.start()
  }

  /** True as soon as sends are refused, which is when closing begins. `closeInfo` is set later, when the TCP connection has closed. */
  get isClosed (): boolean {
    return this.#isLeaving || this.socket.readyState !== this.socket.OPEN
  }

  /** How the connection ended, or `null` while it has not. */
  get closeInfo (): CloseInfo | null {
    return this.#lazyEnding?.info ?? null
  }

  /** @internal */
  get _ending (): Ending {
    this.#lazyEnding ??= new Ending()
    return this.#lazyEnding
  }

  get #socket (): ObservedSocket {
    return this.socket as ObservedSocket // it was constructed with one
  }

  // What comes in

  /** @internal */
  messageOnRead (chunk: Buffer, start: number, end: number, isBinary: boolean, isAscii: boolean): void {
    const socket = this.#socket
    if (socket.isEmitReplaced) {
      socket.emit('message', chunk.subarray(start, end), isBinary)
      return
    }
    socket.receivedMessages++
    socket.receivedBytes += end - start
    const message = new Message<this>(chunk, start, end, isBinary, isAscii, this)
    if (this._reader !== 'listeners') this.#receive(message)
    if (socket.listenerCount('message') > 0) socket.emitToListeners(message.bytes, isBinary)
  }

  /** @internal The answer to a message that came alone is written at once; the answers to several are gathered into one write. */
  chunkOnRead (): void {
    this.#socket.isBatching = this._queue.length > 0
  }

  /** @internal A message that `ws` emits. */
  socketOnMessage (bytes: Buffer, isBinary: boolean): void {
    const isAscii = this._inbound.wsOnMessage() && !this.#socket.isEmitReplaced // or it may be another message than that of `ws`
    if (this._reader === 'listeners') return
    this.#receive(new Message<this>(bytes, 0, bytes.length, isBinary, isAscii, this))
    this.chunkOnRead()
  }

  // What the socket reports

  /** @internal */
  socketOnPong (payload: Buffer): void {
    this._keepAlive.pongOnReceive(payload.toString('latin1'))
  }

  /** @internal The queue is handed over in the next tick, so that listeners that are added together all get it, and a receive may still come first. */
  socketOnListening (): void {
    if (this._queue.length > 0) process.nextTick(() => this.#giveQueueToListeners())
  }

  /** @internal */
  socketOnSending (): void {
    this._sender.handOver()
  }

  /** @internal */
  socketOnClosing (code: number, reason: string): void {
    this._ending.sentClose = { code, reason }
    this.#leaveOpen(this._inbound.hasConcluded ? 'peer' : 'local')
  }

  /** @internal */
  socketOnTerminating (): void {
    this.#leaveOpen('terminated')
  }

  /** @internal */
  socketOnError (error: Error): void {
    this._ending.error = error
    // ws answers a violation with a close frame first, which looks like the answer to a close frame of the peer
    if (this._ending.cause === 'peer') this._ending.cause = 'protocol-error'
  }

  /** @internal The end, in this order: state, timers, waiting receives, waiting sends, the app, `closed`, `signal`. */
  socketOnClose (code: number, reason: Buffer): void {
    if (this.#state === 'closed') return // a second 'close' is one that the application emits by hand
    this.#leaveOpen('connection-lost')
    this.#state = 'closed'
    const { receivedMessages, receivedBytes, sentMessages, sentBytes } = this.#socket
    const traffic: Traffic = {
      received: { messages: receivedMessages, bytes: receivedBytes },
      sent: { messages: sentMessages, bytes: sentBytes, dropped: this.#dropped }
    }
    const ending = this._ending
    const unread = this._queue.length + this.#discarded
    const info = ending.describe(code, reason.toString(), this._inbound.transport.errored, unread, this._sender.lost)
    this._owner.delete(this, info, traffic)
    ending.announce(info)
  }

  // What the transport reports

  /** @internal The peer has ended its side without a close frame. `ws` then ends ours, and waits for the peer without a limit. */
  transportOnEnd (): void {
    if (this.#isLeaving) return
    this._sender.flush()
    // Where ws emits messages in a later turn, messages that were read already may still come, so the connection stays open
    if (!this.#isEmittedLater) this.#leaveOpen('connection-lost')
    this._ending.timer = setTimeout(() => this.terminateWith('connection-lost'), this._settings.server.closeTimeout)
  }

  /** @internal */
  transportOnResume (): void {
    this._keepAlive.readingOnResume()
  }

  // What the queue and the keep-alive need

  /** @internal */
  pauseReading (): void {
    this.socket.pause()
  }

  /** @internal */
  resumeReading (): void {
    this.socket.resume()
  }

  /** @internal While the app closes, a second receive after the end shows that the handler does not return but polls: it is closed now. */
  receiveOnEnd (): void {
    if (this.#state === 'drained') this.closeForShutdown()
    if (this.#state === 'draining') this.#state = 'drained'
  }

  /** @internal */
  reportResumes (): void {
    this._inbound.transport.on('resume', transportOnResume)
  }

  // What the handler and the app do with it

  /** @internal From here on messages are queued for receives, and the handler's promise is the connection's lifetime. */
  startReceiving (): void {
    if (this._reader !== 'listeners') return
    this._reader = 'awaited'
    this.#watchers = this.socket.listenerCount('message')
  }

  /** @internal Whether messages go to receives, and the handler's promise is the connection's lifetime. */
  get isAwaited (): boolean {
    return this._reader !== 'listeners'
  }

  /** @internal Whether something was thrown only because `ws.signal` has aborted. */
  isDueToEnd (thrown: unknown): boolean {
    return this.#lazyEnding?.isReasonOf(thrown) === true
  }

  /** @internal The app is closing. Closes at once if no receive was ever called and no message waits, else when the handler returns. */
  drain (): void {
    const hasBegun = this._reader === 'receiving' || (this._reader === 'awaited' && this._queue.length > 0)
    const hasToldEnd = this._queue.end()
    if (this.#state === 'open') this.#state = hasToldEnd ? 'drained' : 'draining'
    if (!hasBegun) this.closeForShutdown()
  }

  /** @internal */
  closeForShutdown (): void {
    this.closeWith(undefined, undefined, 'shutdown')
  }

  /** @internal Another connection has its identifier now. */
  closeAsReplaced (): void {
    this.closeWith(4409, 'replaced', 'replaced')
  }

  /** @internal Sends a publication. `false`: the peer reads too slowly. `null`: the connection is closing or closed. */
  deliver (publication: Publication): boolean | null {
    if (this.isClosed) return null
    if (this._sender.publish(publication)) return true
    this.drop(publication.data)
    return false
  }

  /** @internal Refuses a message, because the peer reads too slowly. */
  drop (data: string | Buffer): Promise<boolean> {
    this.#dropped++
    this._owner.dropped(this, 'out', 'slow-consumer', Buffer.byteLength(data))
    if (this._settings.slowConsumer === 'close') {
      this._sender.end(false) // messages that wait are given up first, because they would only delay the close frame
      this.closeWith(1013, 'too slow', 'slow-consumer')
    }
    return NOT_SENT
  }

  // The ways out of 'open'

  /**
   * @internal Sends what waits, then a close frame. While the app closes, the cause is 'shutdown' unless the handler failed.
   * @param code @default 1000, or `shutdown.code` while the app closes
   */
  closeWith (code: number | undefined, reason: string | undefined, cause: CloseCause): void {
    if (this.isClosed) return
    const isShutdown = this._owner.lifecycle.isClosing
    const byDefault = isShutdown && code === undefined ? this._settings.shutdown : { code: 1000, reason: '' }
    try {
      this.#leaveOpen(isShutdown && cause !== 'handler-failed' ? 'shutdown' : cause, true)
    } finally { // a class of sockets of the application may throw when it sends
      if (this.socket.isPaused) this.socket.resume() // a paused socket would not see the peer's answer
      this.socket.close(code ?? byDefault.code, reason ?? byDefault.reason)
    }
  }

  /** @internal Ends it without a close frame. */
  terminateWith (cause: CloseCause): void {
    this._sender.flush() // the caller was told that it was sent
    this.#leaveOpen(cause)
    this.socket.terminate()
  }

  get #isLeaving (): boolean {
    return this.#state === 'closing' || this.#state === 'closed'
  }

  /**
   * Settles receives and sends that wait. Messages that wait to be received still can be.
   * @param sendsWaiting messages that wait to be sent go out, instead of being lost
   */
  #leaveOpen (cause: CloseCause, sendsWaiting = false): void {
    if (this.#isLeaving) return
    this.#state = 'closing'
    this._ending.cause = cause
    this._lazyPingPolicy?.stop()
    this._keepAlive.stop()
    this._queue.end()
    this._sender.end(sendsWaiting)
  }

  get #isCompressed (): boolean {
    return this.socket.extensions !== ''
  }

  /** Whether `ws` emits a message in a later turn of the event loop than the one that read it. */
  get #isEmittedLater (): boolean {
    return this.#isCompressed || this._settings.server.allowSynchronousEvents === false
  }

  /** Whether messages go to listeners of the socket: something listens, as libraries do, and no receive was ever called. */
  get #isLeftToListeners (): boolean {
    return this._reader === 'awaited' && this.socket.listenerCount('message') > this.#watchers
  }

  #giveQueueToListeners (): void {
    while (this.#isLeftToListeners && this._queue.length > 0) {
      const { bytes, isBinary } = this._queue.poll() as Message<this> // the queue is not empty
      this.#socket.emitToListeners(bytes, isBinary)
    }
  }

  #receive (message: Message<this>): void {
    if (this.#isLeftToListeners) return this.#giveQueueToListeners() // they get this message next
    if (this.#state !== 'open') return this.#discard(message, 'closing')
    if (this._lazyPingPolicy?.isEcho(message.bytes, message.isBinary) === true) return
    if (this._queue.push(message)) return
    this.#discard(message, 'receive-overflow')
    this.closeWith(1008, 'too many messages', 'receive-overflow')
  }

  #discard ({ length }: Message<this>, reason: string): void {
    this.#discarded++
    this._owner.dropped(this, 'in', reason, length)
  }
}

function transportOnResume (this: Duplex): void {
  connectionOf(this).transportOnResume()
}

function connectionOf (transport: Duplex): LiveConnection {
  return (transport as Duplex & { [kOwner]: LiveConnection })[kOwner] // only a connection adds these listeners
}

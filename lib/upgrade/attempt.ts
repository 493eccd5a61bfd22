import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyBaseLogger, FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import type { WebSocketServer } from 'ws'
import type { WebSocketCollection } from '../app/collection.js'
import type { Shutdown } from '../app/shutdown.js'
import { diagnostics } from '../base/diagnostics.js'
import { errors } from '../base/errors.js'
import { AsyncWebSocket, type ConnectionParts } from '../connection/async-web-socket.js'
import type { ObservedSocket } from '../connection/observed-socket.js'
import { readAcceptOptions, type Acceptance, type AcceptOptions } from './accept-options.js'
import type { Admission, Ticket } from './admission.js'
import { assertHandshake } from './handshake.js'
import type { OriginRule } from './origin.js'
import type { ExchangeOwner, RawExchange } from './raw-exchange.js'

export interface UpgradeSettings {
  readonly origin: OriginRule
  /** In ms. */
  readonly upgradeTimeout: number
}

/** Another plugin of the app that accepts upgrades on routes of its own, and looks for the socket on the raw request. */
export interface ForeignPlugin {
  /** @param onTake called when one of its routes takes the socket, which is then no longer ours */
  exposeSocket (raw: IncomingMessage, socket: Socket, head: Buffer, onTake: () => void): void
}

/** What an upgrade needs of the app. */
export interface UpgradeContext {
  readonly server: WebSocketServer
  /** Complete when the app is ready. */
  foreignPlugins: readonly ForeignPlugin[]
  /** Known when the app is ready. An open connection keeps its HTTP response only for these hooks. */
  hasResponseHooks: boolean
  readonly settings: UpgradeSettings & ConnectionParts['settings']
  readonly admission: Admission
  readonly collection: WebSocketCollection
  readonly shutdown: Shutdown
  readonly log: FastifyBaseLogger
}

/** Called with the connection as soon as there is one. It has to attach its listeners before it returns. */
export type OnOpen = (connection: AsyncWebSocket) => void

/** Learns that an attempt has succeeded. */
export interface AttemptOwner {
  attemptOnAccept (connection: AsyncWebSocket): void
}

/**
 * - `outside`: a hook, a not-found handler or an error handler has the request, and cannot accept it
 * - `in-handler`: the handler of the route runs, and may accept or answer
 * - `answering`: the handler has called `reply.send()`, whose hooks may still run
 * - `answering-outside`: something else than the handler has called `reply.send()`
 * - `handed-over`: the `ws` server has it, which may also answer by itself
 * - `left`: other upgrade listeners have it
 * - `accepted`: the socket is a connection, or belongs to a foreign plugin
 * - `timed-out`, `app-closing`: we have ended it for this reason
 */
type State = 'outside' | 'in-handler' | 'answering' | 'answering-outside' | 'handed-over' | 'left' | 'accepted' | 'timed-out' | 'app-closing'

/**
 * An upgrade request until it is a connection or fully answered. However it ends, its socket does not outlive it: when it ends as
 * plain HTTP the socket is destroyed, because Node no longer looks after it.
 */
export class UpgradeAttempt implements ExchangeOwner {
  /** What the call that accepts asks for. */
  acceptance: Acceptance | undefined
  readonly #context: UpgradeContext
  readonly #exchange: RawExchange
  readonly #owner: AttemptOwner
  #state: State = 'outside'
  #reply: FastifyReply | undefined // as soon as Fastify has made it
  #opening: Opening | undefined // as soon as it is to be accepted
  #ticket: Ticket | undefined // as soon as it is admitted
  #refusal: unknown // the last reason for which it was not accepted

  constructor (context: UpgradeContext, exchange: RawExchange, owner: AttemptOwner) {
    const { raw, socket, head, response } = exchange
    this.#context = context
    this.#exchange = exchange
    this.#owner = owner
    response.shouldKeepAlive = false
    for (const plugin of context.foreignPlugins) plugin.exposeSocket(raw, socket, head, () => this.#leaveHttp())
  }

  /** To be called after routing: most upgrades are accepted by then and need none of this. */
  watch (): void {
    if (this.#state !== 'accepted' && this.#state !== 'left') this.#exchange.watch(this)
  }

  /** Returns whether the app goes on with it. Where the app has no route and the server has other listeners, it may be theirs. */
  requestOnStart (request: FastifyRequest, reply: FastifyReply): boolean {
    if (this.#exchange.isShared && request.is404) {
      reply.hijack()
      this.#state = 'left'
      this.#exchange.leaveToOthers()
      return false
    }
    const { send, callNotFound } = reply
    reply.send = (payload) => {
      this.#replyOnSend()
      return send.call(reply, payload)
    }
    reply.callNotFound = () => {
      this.leaveHandler()
      return callNotFound.call(reply)
    }
    this.#reply = reply
    request.ws = true // as `@fastify/websocket` sets it
    return true
  }

  /** The handler of the route starts, and may accept. */
  enterHandler (): void {
    if (this.#state === 'outside') this.#state = 'in-handler'
    else if (this.#state === 'answering-outside') this.#state = 'answering'
  }

  /** The handler has thrown: an error handler cannot accept any more. */
  leaveHandler (): void {
    if (this.#state === 'in-handler') this.#state = 'outside'
    else if (this.#state === 'answering') this.#state = 'answering-outside'
  }

  /** Set as soon as it is to be accepted. */
  get opening (): Promise<AsyncWebSocket> | undefined {
    return this.#opening?.promise
  }

  /** Whether we have ended it, without the handler. */
  get isEnded (): boolean {
    return this.#state === 'timed-out' || this.#state === 'app-closing'
  }

  /** Whether an error only says that the client left, or that we have ended it. That was logged when it happened. */
  isEndedBy (error: unknown): boolean {
    return error instanceof errors.FST_WSA_CLIENT_GONE ||
      (this.isEnded && (error as Partial<FastifyError> | null)?.code === this.#endError().code)
  }

  /** Accepts it. When the options are refused, the handler may call it again with others. */
  accept (request: FastifyRequest, options: AcceptOptions | undefined, onOpen: OnOpen): Promise<AsyncWebSocket> {
    if (this.#opening !== undefined) return this.#opening.promise
    const { raw } = this.#exchange
    try {
      const reply = this.#assertAcceptable(request)
      assertHandshake(raw)
      const replyHeaders = reply.getHeaders() as OutgoingHttpHeaders // Fastify's type allows more than a header can be
      this.acceptance = readAcceptOptions(options, raw.headers, replyHeaders)
    } catch (error) {
      this.#refusal = error
      return Promise.reject(error)
    }
    this.#opening = new Opening()
    const { origin } = request.headers
    if (origin === undefined) this.#open(request, onOpen) // no browser sent it, so no page can misuse a user's cookies
    else this.#openFrom(origin, request, onOpen)
    return this.#opening.promise
  }

  /** The app is closing. */
  refuse (): void {
    if (this.#state !== 'outside' && this.#state !== 'in-handler') return
    if (!this.#exchange.response.headersSent) this.#exchange.answerUnavailable(this.#end('app-closing'))
  }

  /** `ws` found a fault in the handshake. Nothing was answered, so the handler can still answer. */
  serverOnClientError (error: Error): void {
    this.#fail(new errors.FST_WSA_BAD_HANDSHAKE(error.message))
  }

  exchangeOnTimeout (): true {
    this.#log.info({ err: this.#end('timed-out') }, 'websocket upgrade timed out')
    return true
  }

  exchangeOnAnswer (): void {
    this.#publishRefusal()
  }

  exchangeOnClose (wasAnswered: boolean): void {
    this.#ticket?.release()
    if (wasAnswered) return
    if (!this.isEnded) this.#log.info('websocket upgrade ended: the client left before it was answered')
    if (this.#opening !== undefined) this.#fail(new errors.FST_WSA_CLIENT_GONE())
    this.#publishRefusal()
    this.#exchange.raw.destroy?.() // aborts `request.signal`; a request of `injectWS` is no stream
  }

  /** @returns the reply */
  #assertAcceptable (request: FastifyRequest): FastifyReply {
    if (this.isEnded) throw this.#endError()
    const reply = this.#reply
    const isInHandler = this.#state !== 'outside' && this.#state !== 'answering-outside'
    if (reply === undefined || !isInHandler) throw notInHandler(request)
    const { socket } = this.#exchange
    if (socket.destroyed || !socket.readable || !socket.writable) throw new errors.FST_WSA_CLIENT_GONE()
    if (this.#state === 'answering' || reply.sent || reply.raw.headersSent) {
      throw new errors.FST_WSA_REPLY_ALREADY_SENT('open a WebSocket', `status ${reply.statusCode}`)
    }
    if (this.#context.collection.isClosing) throw new errors.FST_WSA_APP_CLOSING()
    return reply
  }

  async #openFrom (origin: string, request: FastifyRequest, onOpen: OnOpen): Promise<void> {
    try {
      if (await this.#context.settings.origin(origin, request) !== true) throw new errors.FST_WSA_ORIGIN_REFUSED(origin, request.host)
    } catch (error) {
      return this.#fail(error)
    }
    this.#open(request, onOpen)
  }

  // `ws` calls back at once, or later where the app has given it a `verifyClient`, or never: then the socket closes
  #open (request: FastifyRequest, onOpen: OnOpen): void {
    const { raw, socket, head } = this.#exchange
    try {
      const reply = this.#assertAcceptable(request) // again, because the check of the origin may have taken time
      const acceptance = this.acceptance as Acceptance // `accept()` has read it
      this.#ticket = this.#context.admission.admit(acceptance.identifier)
      this.#state = 'handed-over'
      this.#context.server.handleUpgrade(raw, socket, head, (accepted) => {
        this.#serverOnAccept(accepted as ObservedSocket, request, reply, acceptance, onOpen) // the server makes no other
      })
    } catch (error) {
      if (this.#ticket !== undefined) socket.destroy() // a listener of the server has thrown, and `ws` would leave the socket open
      this.#fail(error)
    }
  }

  #serverOnAccept (socket: ObservedSocket, request: FastifyRequest, reply: FastifyReply, { identifier }: Acceptance, onOpen: OnOpen): void {
    reply.hijack()
    reply.send = (payload) => refuseToSend(request, reply, payload)
    this.#leaveHttp()
    const { settings, collection } = this.#context
    const { socket: transport } = this.#exchange
    this.#announce(new AsyncWebSocket({ socket, transport, request, settings, identifier, owner: collection }), onOpen)
  }

  /** Everybody learns in this order that it is open, before this returns: a frame may have come with the handshake. */
  #announce (connection: AsyncWebSocket, onOpen: OnOpen): void {
    const { server, collection } = this.#context
    const { raw, response } = this.#exchange
    collection.add(connection)
    if (this.#context.hasResponseHooks) connection.closed.then(() => runResponseHooks(response))
    if (response.listenerCount('close') > 0) connection.closed.then(() => response.emit('close')) // Fastify waits for it if the handler returned its reply
    this.#owner.attemptOnAccept(connection)
    server.emit('connection', connection.socket, raw)
    onOpen(connection)
    if (collection.isClosing) connection.drain()
    this.#opening?.resolveWith(connection)
  }

  #leaveHttp (): void {
    this.#state = 'accepted'
    this.#ticket?.release()
    this.#exchange.detachHttp()
  }

  #replyOnSend (): void {
    if (this.#state === 'outside') this.#state = 'answering-outside'
    else if (this.#state === 'in-handler' || this.#state === 'handed-over') this.#state = 'answering'
  }

  /** Each of those who learn of it gets an error of its own. */
  #end (state: 'timed-out' | 'app-closing'): FastifyError {
    this.#state = state
    this.#refusal = this.#endError()
    this.#opening?.fail(this.#endError())
    return this.#endError()
  }

  #endError (): FastifyError {
    return this.#state === 'timed-out'
      ? new errors.FST_WSA_UPGRADE_TIMEOUT(this.#context.settings.upgradeTimeout)
      : new errors.FST_WSA_APP_CLOSING()
  }

  #fail (error: unknown): void {
    if (this.#opening?.fail(error) === true) this.#refusal = error
  }

  #publishRefusal (): void {
    if (this.#refusal === undefined || !diagnostics.refused.hasSubscribers) return
    diagnostics.refused.publish({ request: this.#reply?.request, error: this.#refusal })
  }

  get #log (): FastifyBaseLogger {
    return this.#reply?.request.log ?? this.#context.log
  }
}

/** The promise that `getWebSocketAsync()` returns. */
class Opening {
  readonly promise: Promise<AsyncWebSocket>
  #resolve!: (connection: AsyncWebSocket) => void // both are set while the promise is made
  #reject!: (error: unknown) => void
  #isPending = true

  constructor () {
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  resolveWith (connection: AsyncWebSocket): void {
    this.#isPending = false
    this.#resolve(connection)
  }

  /** Returns whether it was pending. */
  fail (error: unknown): boolean {
    const wasPending = this.#isPending
    this.#isPending = false
    this.#reject(error)
    return wasPending
  }
}

/** Marks the routes whose handlers can accept. */
export const kAwaitable = Symbol('fastify-websocket-async.awaitable')

function notInHandler ({ is404, routeOptions }: FastifyRequest): Error {
  const isTooEarly = !is404 && !(kAwaitable in routeOptions.config)
  return isTooEarly ? new errors.FST_WSA_ROUTE_TOO_EARLY(routeOptions.url) : new errors.FST_WSA_NOT_IN_HANDLER()
}

/** Some frameworks, such as NestJS, send what a handler returned. If that is `undefined`, it is no mistake. */
function refuseToSend (request: FastifyRequest, reply: FastifyReply, payload: unknown): FastifyReply {
  if (payload === undefined) {
    request.log.debug('an empty reply after the upgrade to a WebSocket was ignored')
    return reply
  }
  throw new errors.FST_WSA_REPLY_ALREADY_SENT('send a reply', 'the upgrade to a WebSocket')
}

/** Fastify runs the `onResponse` hooks, and logs "request completed", at this event. A response without a socket never emits it by itself. */
function runResponseHooks (response: ServerResponse): void {
  response.statusCode = 101
  response.emit('finish')
}

import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyBaseLogger, FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import type { WebSocketServer } from 'ws'
import type { WebSocketCollection } from '../app/collection.js'
import type { Lifecycle } from '../app/lifecycle.js'
import { codeOf, debug } from '../base/debug.js'
import { diagnostics } from '../base/diagnostics.js'
import { errors } from '../base/errors.js'
import { readForeign } from '../base/log.js'
import { AsyncWebSocket } from '../connection/async-web-socket.js'
import type { ConnectionSettings } from '../connection/connection-settings.js'
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
  readonly settings: UpgradeSettings & ConnectionSettings
  readonly admission: Admission
  readonly collection: WebSocketCollection
  readonly lifecycle: Lifecycle
  readonly log: FastifyBaseLogger
}

/** Called with the connection as soon as there is one. It has to attach its listeners before it returns. */
export type OnOpen = (connection: AsyncWebSocket) => void

/** The handler run of the request, as its attempt sees it. */
export interface AttemptOwner {
  /** Whether the handler of the route has the request. If not, a hook, a not-found handler or an error handler has it. */
  readonly isInHandler: boolean
  /** The connection is open. Fastify need not wait for an answer of the handler any more. */
  attemptOnAccept (connection: AsyncWebSocket): void
}

/**
 * - `undecided`: it may still be accepted or answered
 * - `answering`: `reply.send()` was called, and its hooks may still run
 * - `with-ws`: it was given to the `ws` server, which may also answer it; after a fault in the handshake the handler may still answer
 * - `left`: it was offered to the server's other upgrade listeners
 * - `taken`: the socket is a connection's, or a foreign plugin's
 * - `timed-out`, `app-closing`: we have ended it for this reason
 */
type State = 'undecided' | 'answering' | 'with-ws' | 'left' | 'taken' | 'timed-out' | 'app-closing'

/** The promise of `getWebSocketAsync()`, with what settles it. */
interface Opening {
  readonly promise: Promise<AsyncWebSocket>
  readonly resolve: (connection: AsyncWebSocket) => void
  readonly reject: (error: unknown) => void
  hasFailed: boolean
}

/**
 * An upgrade request until it is a connection, or is fully answered, or somebody else has it. If it ends as plain HTTP, its exchange
 * destroys the socket, because Node.js no longer does so.
 */
export class UpgradeAttempt implements ExchangeOwner {
  readonly exchange: RawExchange
  /** Set as soon as Fastify has made it. */
  reply: FastifyReply | undefined
  /** The checked options of `accept()`. The hooks of the `ws` server read the subprotocol and the headers from it. */
  acceptance: Acceptance | undefined
  readonly #context: UpgradeContext
  readonly #owner: AttemptOwner
  #state: State = 'undecided'
  #opening: Opening | undefined // of the first valid accept(), kept after it has failed, so that there is no second try
  #ticket: Ticket | undefined // from its admission on, and released when the socket is taken or closed
  #refusal: unknown // the last reason for which it was not accepted

  constructor (context: UpgradeContext, exchange: RawExchange, owner: AttemptOwner) {
    const { raw, socket, head, response } = exchange
    this.#context = context
    this.exchange = exchange
    this.#owner = owner
    response.shouldKeepAlive = false
    for (const plugin of context.foreignPlugins) plugin.exposeSocket(raw, socket, head, () => this.#foreignPluginOnTake())
  }

  /** Starts the deadline and listens for errors. To be called after routing, in which most upgrades are accepted and need neither. */
  watch (): void {
    if (this.#state !== 'taken' && this.#state !== 'left') this.exchange.watch(this)
  }

  /** Offers it to the other listeners of the server, because the app has no route for it. Nobody takes it: it ends at `upgradeTimeout`. */
  leaveToOthers (reply: FastifyReply): void {
    if (debug.enabled) debug('request %s: left to the other upgrade listeners', reply.request.id)
    reply.hijack()
    this.#state = 'left'
    this.exchange.leaveToOthers()
  }

  replyOnSend (): void {
    if (this.#state === 'undecided' || this.#state === 'with-ws') this.#state = 'answering'
  }

  /** The promise of the first valid `accept()`. */
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
      (this.isEnded && readForeign(error, 'code') === this.#endError().code)
  }

  /** Accepts it. When the options are refused, the handler may call it again with others. */
  accept (request: FastifyRequest, options: AcceptOptions | undefined, onOpen: OnOpen): Promise<AsyncWebSocket> {
    if (this.#opening !== undefined) return this.#opening.promise
    const { raw } = this.exchange
    try {
      const reply = this.#assertAcceptable(request)
      assertHandshake(raw)
      const replyHeaders = reply.getHeaders() as OutgoingHttpHeaders // Fastify's type allows more than a header can be
      this.acceptance = readAcceptOptions(options, raw.headers, replyHeaders)
    } catch (error) {
      this.#setRefusal(error)
      return Promise.reject(error)
    }
    this.#opening = createOpening()
    const { origin } = request.headers
    if (origin === undefined) this.#open(request, onOpen) // no browser sent it, so no page can misuse a user's cookies
    else this.#openFrom(origin, request, onOpen)
    return this.#opening.promise
  }

  /** Answers 503, because the app is closing, unless an answer was begun or `ws` has it. */
  refuse (): void {
    if (this.#state !== 'undecided' || this.exchange.response.headersSent) return
    this.exchange.answerUnavailable(this.#end('app-closing'))
  }

  /** `ws` found a fault in the handshake. Nothing was answered, so the handler can still answer. */
  serverOnClientError (error: Error): void {
    this.#fail(new errors.FST_WSA_BAD_HANDSHAKE(error.message))
  }

  /** Returns `true`, so that the socket is destroyed. */
  exchangeOnTimeout (): true {
    this.#log.info({ err: this.#end('timed-out') }, 'websocket upgrade timed out')
    return true
  }

  exchangeOnAnswer (): void {
    if (debug.enabled) debug('request %s: answered with %d', this.reply?.request.id, this.exchange.response.statusCode)
    this.#publishRefusal()
  }

  exchangeOnClose (wasAnswered: boolean): void {
    this.#ticket?.release()
    if (wasAnswered) return
    if (debug.enabled && !this.isEnded) debug('request %s: the client is gone', this.reply?.request.id)
    if (!this.isEnded) this.#log.info('websocket upgrade ended: the client left before it was answered')
    if (this.#opening !== undefined) this.#fail(new errors.FST_WSA_CLIENT_GONE())
    this.#publishRefusal()
    this.exchange.raw.destroy?.() // aborts `request.signal`; a request of `injectWS` is no stream
  }

  /** @returns the reply */
  #assertAcceptable (request: FastifyRequest): FastifyReply {
    if (this.isEnded) throw this.#endError()
    const reply = this.reply
    if (reply === undefined || !this.#owner.isInHandler) throw notInHandler(request)
    const { socket } = this.exchange
    if (socket.destroyed || !socket.readable || !socket.writable) throw new errors.FST_WSA_CLIENT_GONE()
    if (this.#state === 'answering' || reply.sent || reply.raw.headersSent) {
      throw new errors.FST_WSA_REPLY_ALREADY_SENT('open a WebSocket', `status ${reply.statusCode}`)
    }
    if (this.#context.lifecycle.isClosing) throw new errors.FST_WSA_APP_CLOSING()
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
    const { raw, socket, head } = this.exchange
    try {
      const reply = this.#assertAcceptable(request) // again, because the check of the origin may have taken time
      const acceptance = this.acceptance as Acceptance // `accept()` has read it
      this.#ticket = this.#context.admission.admit(acceptance.identifier)
      this.#state = 'with-ws'
      this.#context.server.handleUpgrade(raw, socket, head, (accepted) => {
        this.#serverOnAccept(accepted as ObservedSocket, request, reply, acceptance, onOpen) // the server makes no other
      })
    } catch (error) {
      if (this.#ticket !== undefined) socket.destroy() // a listener of the server has thrown, and `ws` would leave the socket open
      this.#fail(error)
    }
  }

  /** Tells everybody, in this order and before it returns, that the connection is open: a frame may have come with the handshake. */
  #serverOnAccept (socket: ObservedSocket, request: FastifyRequest, reply: FastifyReply, { identifier }: Acceptance, onOpen: OnOpen): void {
    const { server, settings, collection, hasResponseHooks } = this.#context
    const { raw, socket: transport, response } = this.exchange
    reply.hijack()
    reply.send = (payload) => refuseToSend(request, reply, payload)
    this.#giveSocketAway()
    if (debug.enabled) debug('request %s: accepted as connection %j', request.id, identifier ?? request.id)
    const connection = new AsyncWebSocket({ socket, transport, request, settings, identifier, owner: collection })
    collection.add(connection)
    if (hasResponseHooks) connection.closed.then(() => runResponseHooks(response))
    if (response.listenerCount('close') > 0) connection.closed.then(() => response.emit('close')) // a handler that returned its reply makes Fastify wait for this event
    this.#owner.attemptOnAccept(connection)
    server.emit('connection', socket, raw)
    onOpen(connection)
    if (this.#context.lifecycle.isClosing) connection.drain()
    this.#opening?.resolve(connection)
  }

  #foreignPluginOnTake (): void {
    if (debug.enabled) debug('request %s: taken by another plugin', this.reply?.request.id)
    this.#giveSocketAway()
  }

  /** The socket belongs to somebody else from here on. */
  #giveSocketAway (): void {
    this.#state = 'taken'
    this.#ticket?.release()
    this.exchange.detachHttp()
  }

  /** Ends the attempt. The log, the caller of `accept()` and the diagnostics each get an error object of their own. */
  #end (state: 'timed-out' | 'app-closing'): FastifyError {
    this.#state = state
    this.#setRefusal(this.#endError())
    if (this.#opening !== undefined) failOpening(this.#opening, this.#endError())
    return this.#endError()
  }

  #endError (): FastifyError {
    return this.#state === 'timed-out'
      ? new errors.FST_WSA_UPGRADE_TIMEOUT(this.#context.settings.upgradeTimeout)
      : new errors.FST_WSA_APP_CLOSING()
  }

  #fail (error: unknown): void {
    if (this.#opening === undefined || this.#opening.hasFailed) return
    failOpening(this.#opening, error)
    this.#setRefusal(error)
  }

  #setRefusal (error: unknown): void {
    if (debug.enabled) debug('request %s: refused with %s', this.reply?.request.id, codeOf(error))
    this.#refusal = error
  }

  #publishRefusal (): void {
    if (this.#refusal === undefined || !diagnostics.refused.hasSubscribers) return
    diagnostics.refused.publish({ request: this.reply?.request, error: this.#refusal })
  }

  get #log (): FastifyBaseLogger {
    return this.reply?.request.log ?? this.#context.log
  }
}

function createOpening (): Opening {
  let resolve!: Opening['resolve'] // the promise sets both at once
  let reject!: Opening['reject']
  const promise = new Promise<AsyncWebSocket>((_resolve, _reject) => {
    resolve = _resolve
    reject = _reject
  })
  return { promise, resolve, reject, hasFailed: false }
}

function failOpening (opening: Opening, error: unknown): void {
  opening.hasFailed = true
  opening.reject(error)
}

/** Marks the routes whose handlers can accept. */
export const kAwaitable = Symbol('fastify-websocket-async.awaitable')

function notInHandler ({ is404, routeOptions }: FastifyRequest): Error {
  const wasDeclaredTooEarly = !is404 && !(kAwaitable in routeOptions.config)
  return wasDeclaredTooEarly ? new errors.FST_WSA_ROUTE_TOO_EARLY(routeOptions.url) : new errors.FST_WSA_NOT_IN_HANDLER()
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

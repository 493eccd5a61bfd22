import type { OutgoingHttpHeaders } from 'node:http'
import type { FastifyBaseLogger, FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import type { WebSocketServer } from 'ws'
import type { WebSocketCollection } from '../app/collection.js'
import { AsyncWebSocket } from '../connection/async-web-socket.js'
import { diagnostics } from '../base/diagnostics.js'
import { errors } from '../base/errors.js'
import { readAcceptOptions, type Acceptance, type AcceptOptions } from './accept-options.js'
import type { Admission, Ticket } from './admission.js'
import { assertHandshake } from './handshake.js'
import type { ObservedSocket } from '../connection/observed-socket.js'
import type { Settings } from '../plugin/options.js'
import type { ExchangeOwner, RawExchange } from './raw-exchange.js'
import type { Neighbour } from '../plugin/upstream.js'
import { runResponseHooks } from './response-hooks.js'
import type { Shutdown } from '../app/shutdown.js'

/** What an upgrade needs of the app. */
export interface UpgradeContext {
  readonly server: WebSocketServer
  /** Known when the app is ready. */
  readonly neighbours: readonly Neighbour[]
  /** Known when the app is ready. An open connection keeps its response only for these. */
  hasResponseHooks: boolean
  readonly settings: Settings
  readonly admission: Admission
  readonly collection: WebSocketCollection
  readonly shutdown: Shutdown
  readonly log: FastifyBaseLogger
}

/** Called with the connection as soon as there is one: whoever listens to it must do so before this returns. */
export type OnOpen = (connection: AsyncWebSocket) => void

/**
 * An upgrade request that is neither a connection yet nor fully answered. Whichever way it ends, its socket does not outlive
 * it: an upgrade that ends as plain HTTP has its socket destroyed, for Node has let go of it and nobody else will.
 */
export class PendingUpgrade implements ExchangeOwner {
  /** Set by the call that accepts. */
  acceptance: Acceptance | undefined
  readonly #context: UpgradeContext
  readonly #exchange: RawExchange
  readonly #onAccept: OnOpen
  #log: FastifyBaseLogger // of the request, once there is one
  #state: 'undecided' | 'left' | 'answered' | 'gone' | 'accepted' = 'undecided'
  #request: FastifyRequest | undefined
  #reply: FastifyReply | undefined // while the handler may accept
  #opening: Promise<AsyncWebSocket> | undefined
  #isAnswering = false // from `reply.send()` on, while its hooks run
  #ticket: Ticket | undefined // once it was handed over to the server of `ws`, which may answer by itself
  #failToOpen: ((error: Error) => void) | undefined
  #refusal: unknown // why it was not accepted, the last time that was asked
  #whyNot: (() => FastifyError) | undefined // set when we ended it ourselves

  constructor (context: UpgradeContext, exchange: RawExchange, onAccept: OnOpen) {
    this.#context = context
    this.#exchange = exchange
    this.#log = context.log
    this.#onAccept = onAccept
    exchange.response.shouldKeepAlive = false
    for (const neighbour of context.neighbours) this.#showTo(neighbour)
  }

  /** To be called when the request was routed: by then most are accepted, and nothing of this is needed. */
  watch (): void {
    if (this.#state === 'undecided') this.#exchange.watch(this)
  }

  /** Returns whether the app goes on with it. Where it has no route and others listen too, the upgrade may be theirs. */
  requestOnStart (request: FastifyRequest, reply: FastifyReply): boolean {
    if (this.#exchange.isShared && request.is404) {
      reply.hijack()
      this.#state = 'left'
      this.#exchange.leaveToOthers()
      return false
    }
    const { send, callNotFound } = reply
    reply.send = (payload) => {
      this.#isAnswering = true
      return send.call(reply, payload)
    }
    reply.callNotFound = () => {
      this.#reply = undefined
      return callNotFound.call(reply)
    }
    this.#log = request.log
    this.#request = request
    request.ws = true // as `@fastify/websocket` has it
    return true
  }

  /** The handler runs: it may accept. */
  handlerOnStart (reply: FastifyReply): void {
    this.#reply = reply
  }

  /** The handler has returned: what it returned is the answer, but for where the upgrade is accepted in the end. */
  handlerOnReturn (value: unknown): unknown {
    if (this.#whyNot !== undefined) return undefined
    if (this.#opening === undefined) return value
    return this.#opening.then((connection) => connection.handlerOnReturn(), () => value)
  }

  /** The same for a handler that returned no promise: where it has begun to accept, it is no answer. */
  withoutPromise (value: unknown): unknown {
    return this.#opening === undefined ? value : undefined
  }

  handlerOnThrow (error: unknown): unknown {
    this.#reply = undefined // an error handler cannot accept any more
    if (this.#opening === undefined) return this.#rethrow(error)
    return this.#opening.then((connection) => connection.handlerOnThrow(error), () => this.#rethrow(error))
  }

  /** Accepts it. After a refusal for what was asked, something else can be asked for. */
  accept (request: FastifyRequest, options: AcceptOptions | undefined, onOpen: OnOpen): Promise<AsyncWebSocket> {
    if (this.#opening !== undefined) return this.#opening
    try {
      this.#opening = this.#begin(request, options, onOpen)
      return this.#opening
    } catch (error) {
      this.#refusal = error
      return Promise.reject(error)
    }
  }

  /** The app is closing. */
  refuse (): void {
    const { response } = this.#exchange
    if (this.#state !== 'undecided' || this.#ticket !== undefined || this.#isAnswering || response.headersSent) return
    this.#exchange.answerUnavailable(this.#end(() => new errors.FST_WSA_APP_CLOSING()))
  }

  /** `ws` found the handshake wanting. The request is as it was: it can be answered. */
  refuseToOpen (error: Error): void {
    this.#failToOpen?.(new errors.FST_WSA_BAD_HANDSHAKE(error.message))
  }

  exchangeOnTimeout (): true {
    const { upgradeTimeout } = this.#context.settings
    const error = this.#end(() => new errors.FST_WSA_UPGRADE_TIMEOUT(upgradeTimeout))
    this.#log.info({ err: error }, 'websocket upgrade timed out')
    return true
  }

  exchangeOnAnswer (): void {
    this.#state = 'answered'
    this.#publishRefusal()
  }

  exchangeOnClose (): void {
    const failToOpen = this.#failToOpen
    this.#letGo()
    if (this.#state !== 'undecided') return
    this.#state = 'gone'
    if (this.#whyNot === undefined) this.#log.info('websocket upgrade ended: the client left before it was answered')
    failToOpen?.(new errors.FST_WSA_CLIENT_GONE())
    this.#publishRefusal()
    this.#exchange.raw.destroy?.() // aborts `request.signal`; a request that was injected is no stream
  }

  /** As if its listener had noted it. Its route asks for the head when it hands the socket to a `ws` server of its own. */
  #showTo (neighbour: Neighbour): void {
    const { raw, socket, head } = this.#exchange
    Object.defineProperties(raw, {
      [neighbour.socket]: { value: socket, configurable: true },
      [neighbour.head]: {
        get: () => {
          this.#letGoOfHttp()
          return head
        },
        configurable: true
      }
    })
  }

  #letGoOfHttp (): void {
    const { response, socket } = this.#exchange
    this.#state = 'accepted'
    response.detachSocket(socket)
    this.#letGo()
  }

  #assertUndecided (request: FastifyRequest): FastifyReply {
    if (this.#whyNot !== undefined) throw this.#whyNot()
    const reply = this.#reply
    if (reply === undefined) throw notInHandler(request)
    const { socket } = this.#exchange
    if (this.#state === 'gone' || !socket.readable || !socket.writable) throw new errors.FST_WSA_CLIENT_GONE()
    if (reply.sent || this.#isAnswering || reply.raw.headersSent) {
      throw new errors.FST_WSA_REPLY_ALREADY_SENT('open a WebSocket', `status ${reply.statusCode}`)
    }
    if (this.#context.collection.isClosing) throw new errors.FST_WSA_APP_CLOSING()
    return reply
  }

  /** Checks what can be checked at once; what follows settles in any case. */
  #begin (request: FastifyRequest, options: AcceptOptions | undefined, onOpen: OnOpen): Promise<AsyncWebSocket> {
    const reply = this.#assertUndecided(request)
    assertHandshake(this.#exchange.raw)
    const replyHeaders = reply.getHeaders() as OutgoingHttpHeaders // Fastify's type allows more than a header can be
    const acceptance = this.acceptance = readAcceptOptions(options, this.#exchange.raw.headers, replyHeaders)
    return new Promise((resolve, reject) => {
      const fail = this.#failToOpen = (error: unknown) => {
        this.#refusal = error
        this.#failToOpen = undefined
        reject(error)
      }
      const { origin } = request.headers
      try {
        if (origin === undefined) this.#open(request, acceptance, onOpen, resolve) // it is no browser, and none that a page could misuse
        else this.#assertOrigin(origin, request).then(() => this.#open(request, acceptance, onOpen, resolve)).catch(fail)
      } catch (error) {
        fail(error)
      }
    })
  }

  #open (request: FastifyRequest, { identifier }: Acceptance, onOpen: OnOpen, resolve: (connection: AsyncWebSocket) => void): void {
    const reply = this.#assertUndecided(request) // time may have passed
    const { server, admission } = this.#context
    const { raw, socket, head } = this.#exchange
    this.#ticket = admission.admit(identifier)
    try {
      // It calls back at once, later (where the app gave it a `verifyClient`), or never: then the socket closes
      server.handleUpgrade(raw, socket, head, (accepted) => {
        resolve(this.#serverOnAccept(accepted as ObservedSocket, request, reply, identifier, onOpen)) // the server makes no other
      })
    } catch (error) {
      socket.destroy()
      throw error
    }
  }

  async #assertOrigin (origin: string, request: FastifyRequest): Promise<void> {
    if (await this.#context.settings.origin(origin, request) !== true) throw new errors.FST_WSA_ORIGIN_REFUSED(origin, request.host)
  }

  // A frame may have come with the handshake: whoever listens must do so before this returns
  #serverOnAccept (socket: ObservedSocket, request: FastifyRequest, reply: FastifyReply, identifier: string | null, onOpen: OnOpen): AsyncWebSocket {
    reply.hijack()
    reply.send = (payload) => refuseToSend(request, reply, payload)
    this.#letGoOfHttp()
    const { server, settings, collection } = this.#context
    const { raw, socket: transport } = this.#exchange
    const connection = new AsyncWebSocket({
      socket,
      transport,
      request,
      settings,
      identifier,
      owner: collection
    })
    collection.add(connection)
    this.#endResponseWith(connection)
    this.#onAccept(connection)
    server.emit('connection', socket, raw)
    onOpen(connection)
    if (collection.isClosing) connection.drain()
    return connection
  }

  #endResponseWith (connection: AsyncWebSocket): void {
    const { response } = this.#exchange
    if (this.#context.hasResponseHooks) connection.closed.then(() => runResponseHooks(response))
    if (response.listenerCount('close') > 0) connection.closed.then(() => response.emit('close')) // a handler that has returned its reply waits for that
  }

  // Nobody can be told any more that the client left, or that we ended it: that was logged when it happened
  #rethrow (error: unknown): undefined {
    const isKnown = error instanceof errors.FST_WSA_CLIENT_GONE ||
      (this.#whyNot !== undefined && (error as Partial<FastifyError> | null)?.code === this.#whyNot().code)
    if (!isKnown) throw error
  }

  /** Whoever waits for the upgrade, or asks for it later, is told why there is none. */
  #end (whyNot: () => FastifyError): FastifyError {
    this.#whyNot = whyNot
    this.#refusal = whyNot()
    this.#failToOpen?.(whyNot())
    return whyNot()
  }

  #publishRefusal (): void {
    if (this.#refusal === undefined || !diagnostics.refused.hasSubscribers) return
    diagnostics.refused.publish({ request: this.#request, error: this.#refusal })
  }

  #letGo (): void {
    this.#failToOpen = undefined
    this.#ticket?.release()
    this.#exchange.unwatch()
  }
}

/** Marks the routes whose handlers can accept. */
export const kAwaitable = Symbol('fastify-websocket-async.awaitable')

function notInHandler ({ is404, routeOptions }: FastifyRequest): Error {
  const isTooEarly = !is404 && !(kAwaitable in routeOptions.config)
  return isTooEarly ? new errors.FST_WSA_ROUTE_TOO_EARLY(routeOptions.url) : new errors.FST_WSA_NOT_IN_HANDLER()
}

/** Frameworks send what a handler returned, such as NestJS, which then is `undefined`: that is no mistake. */
function refuseToSend (request: FastifyRequest, reply: FastifyReply, payload: unknown): FastifyReply {
  if (payload === undefined) {
    request.log.debug('an empty reply after the upgrade to a WebSocket was ignored')
    return reply
  }
  throw new errors.FST_WSA_REPLY_ALREADY_SENT('send a reply', 'the upgrade to a WebSocket')
}

import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteHandlerMethod } from 'fastify'
import { closeAskedFor } from '../base/close.js'
import { debug } from '../base/debug.js'
import { errors } from '../base/errors.js'
import { logForeign } from '../base/log.js'
import type { AsyncWebSocket } from '../connection/async-web-socket.js'
import type { AcceptOptions } from './accept-options.js'
import { UpgradeAttempt, type AttemptOwner, type OnOpen, type UpgradeContext } from './attempt.js'
import { asksForWebSocket, type RawExchange } from './raw-exchange.js'

// A property of the raw request, because a map of thousands of requests takes more memory
const kUpgrade = Symbol('fastify-websocket-async.upgrade')

interface Upgraded {
  [kUpgrade]?: HandlerRun
}

/** Sends an upgrade request through the app's router. */
export function routeUpgrade (app: FastifyInstance, context: UpgradeContext, exchange: RawExchange): void {
  const { raw, response, socket } = exchange
  const run = (raw as Upgraded)[kUpgrade] = new HandlerRun(context, exchange)
  try {
    app.routing(raw, response)
  } catch (error) {
    logForeign(context.log, 'warn', { err: error }, 'websocket upgrade could not be routed')
    if (response.headersSent) socket.destroy()
    else response.writeHead(500).end()
  }
  if (run.upgrade instanceof UpgradeAttempt) run.upgrade.watch()
}

/** The handler run of an upgrade request, and `undefined` for every other request. */
export function upgradeOf (raw: IncomingMessage): HandlerRun | undefined {
  return (raw as Upgraded)[kUpgrade]
}

/** `request.getWebSocketAsync` */
export function getWebSocketAsync (this: FastifyRequest, options?: AcceptOptions): Promise<AsyncWebSocket> {
  const upgrade = upgradeOf(this.raw)
  const isOpen = upgrade !== undefined && upgrade.attempt === undefined
  const opening = upgrade === undefined
    ? Promise.reject(upgradeRequired(this))
    : upgrade.accept(this, options, startReceiving)
  if (!isOpen) opening.catch(() => {}) // a handler that awaits it in a later turn must not end the process
  return opening
}

function startReceiving (connection: AsyncWebSocket): void {
  connection.startReceiving()
}

// RFC 9110, section 15.5.22: a 426 names the protocol. Node writes the Connection header, because that header also says whether
// the connection stays open. HTTP/2 has neither header.
function upgradeRequired ({ method, url, raw }: FastifyRequest): Error {
  const { upgrade: isUpgrade } = raw as { upgrade?: boolean | null } // Node sets it when it gives the socket to `upgrade` listeners
  if (isUpgrade === true && asksForWebSocket(raw)) return new errors.FST_WSA_UPGRADE_TAKEN(method, url)
  const headers = raw.httpVersionMajor === 1 ? { upgrade: 'websocket' } : {}
  return Object.assign(new errors.FST_WSA_UPGRADE_REQUIRED(method, url), { headers })
}

/** The handler of an ordinary route, which may accept an upgrade. */
export function awaitableHandler (handler: RouteHandlerMethod): RouteHandlerMethod {
  return function (request, reply) {
    const upgrade = upgradeOf(request.raw)
    if (upgrade === undefined) return handler.call(this, request, reply)
    return upgrade.run(() => handler.call(this, request, reply))
  }
}

/** Fastify's promise of the handler. Fastify keeps the reply until it settles. */
interface Answer {
  resolve (value: unknown): void
  reject (error: unknown): void
}

/**
 * The handler of an upgrade request. It decides what the handler's return or throw means: before acceptance an HTTP answer,
 * after acceptance the end of the connection.
 */
export class HandlerRun implements AttemptOwner {
  readonly #context: UpgradeContext
  /** When the attempt has become a connection, nothing of HTTP but the request is kept. */
  upgrade: UpgradeAttempt | AsyncWebSocket
  /** Settles when the handler has ended, if it returned a promise. It never rejects. */
  lifetime!: Promise<void>
  isInHandler = false
  #answer: Answer | undefined

  constructor (context: UpgradeContext, exchange: RawExchange) {
    this.#context = context
    this.upgrade = new UpgradeAttempt(context, exchange, this)
  }

  /** `undefined` as soon as it was accepted. */
  get attempt (): UpgradeAttempt | undefined {
    return this.upgrade instanceof UpgradeAttempt ? this.upgrade : undefined
  }

  /** An `onRequest` hook. Returns whether the app goes on with the request. */
  requestOnStart (request: FastifyRequest, reply: FastifyReply): boolean {
    const attempt = this.upgrade
    if (!(attempt instanceof UpgradeAttempt)) return true
    attempt.reply = reply
    if (debug.enabled) debug('request %s: routed to %j', request.id, request.routeOptions.url ?? 'no route')
    if (attempt.exchange.isShared && request.is404) {
      attempt.leaveToOthers(reply)
      return false
    }
    const { send, callNotFound } = reply
    reply.send = (payload) => {
      attempt.replyOnSend()
      return send.call(reply, payload)
    }
    reply.callNotFound = () => {
      this.isInHandler = false
      return callNotFound.call(reply)
    }
    request.ws = true // as `@fastify/websocket` sets it
    return true
  }

  /** Runs the handler of the route, and returns what Fastify is to answer. */
  run (handler: () => unknown): unknown {
    this.isInHandler = true
    let promise
    try {
      const result = handler()
      if (typeof (result as PromiseLike<unknown> | null | undefined)?.then !== 'function') return this.#answerWithoutPromise(result)
      promise = Promise.resolve(result)
    } catch (error) {
      return this.#judgeThrow(error)
    }
    this.lifetime = promise.then((value) => this.#handlerOnReturn(value), (error: unknown) => this.#handlerOnThrow(error))
    this.#context.lifecycle.trackHandler(this)
    if (!(this.upgrade instanceof UpgradeAttempt)) return undefined
    return new Promise((resolve, reject) => { this.#answer = { resolve, reject } })
  }

  /** Accepts the upgrade. Called again, it gives the same connection. */
  accept (request: FastifyRequest, options: AcceptOptions | undefined, onOpen: OnOpen): Promise<AsyncWebSocket> {
    if (this.upgrade instanceof UpgradeAttempt) return this.upgrade.accept(request, options, onOpen)
    onOpen(this.upgrade)
    return Promise.resolve(this.upgrade)
  }

  attemptOnAccept (connection: AsyncWebSocket): void {
    this.upgrade = connection
    this.#answer?.resolve(undefined)
    this.#answer = undefined
  }

  /** The app closes without waiting for the handler, because the handler waits for the app to close. */
  excuse (): void {
    const connection = this.upgrade instanceof UpgradeAttempt ? undefined : this.upgrade
    const log = connection?.request.log ?? this.#context.log
    log.warn('websocket handler awaits app.close(), which waits for the handlers, and so not for this one; call it there without await')
    connection?.closeForShutdown()
  }

  #handlerOnReturn (value: unknown): void {
    if (this.upgrade instanceof UpgradeAttempt) {
      this.#answerWith(this.#judgeReturn(value))
    } else {
      closeAsReturned(this.upgrade)
      this.#context.lifecycle.untrackHandler(this)
    }
  }

  #handlerOnThrow (error: unknown): void {
    if (this.upgrade instanceof UpgradeAttempt) {
      this.#answerWith(Promise.resolve().then(() => this.#judgeThrow(error)))
    } else {
      closeAsFailed(this.upgrade, error)
      this.#context.lifecycle.untrackHandler(this)
    }
  }

  /** A handler that returned no promise. If the upgrade is being accepted, what it returned is no answer. */
  #answerWithoutPromise (value: unknown): unknown {
    return this.attempt === undefined || this.attempt.opening !== undefined ? undefined : value
  }

  /** What the handler returned is the HTTP answer, unless the upgrade is being accepted and that succeeds. */
  #judgeReturn (value: unknown): unknown {
    const attempt = this.upgrade
    if (!(attempt instanceof UpgradeAttempt)) return closeAsReturned(attempt)
    if (attempt.isEnded) return undefined
    return attempt.opening === undefined ? value : attempt.opening.then(closeAsReturned, () => value)
  }

  /** What the handler threw is for Fastify's error handler, unless the upgrade is being accepted and that succeeds. */
  #judgeThrow (error: unknown): unknown {
    const attempt = this.upgrade
    if (!(attempt instanceof UpgradeAttempt)) return closeAsFailed(attempt, error)
    this.isInHandler = false // an error handler cannot accept any more
    if (attempt.opening === undefined) return throwUnlessEnded(attempt, error)
    return attempt.opening.then((connection) => closeAsFailed(connection, error), () => throwUnlessEnded(attempt, error))
  }

  async #answerWith (judgement: unknown): Promise<void> {
    try {
      const value = await judgement
      this.#answer?.resolve(value)
    } catch (error) {
      this.#answer?.reject(error)
    } finally {
      this.#context.lifecycle.untrackHandler(this)
    }
  }
}

function throwUnlessEnded (attempt: UpgradeAttempt, error: unknown): undefined {
  if (!attempt.isEndedBy(error)) throw error
}

/** The handler's return is the end of the connection, unless the application listens to its socket instead of receiving. */
function closeAsReturned (connection: AsyncWebSocket): void {
  if (connection.isAwaited) connection.closeWith(undefined, undefined, 'handler-returned')
}

/** Closes the connection for what a handler has thrown. The error goes to the log, and the peer gets no details. */
export function closeAsFailed (connection: AsyncWebSocket, error: unknown): void {
  const asked = closeAskedFor(error)
  const isFailure = asked === undefined && !connection.isDueToEnd(error)
  connection.closeWith(asked?.code ?? 1011, asked?.reason ?? '', 'handler-failed') // before the log line, so that the peer need not wait for it
  const message = asked === undefined ? 'websocket handler failed' : 'websocket handler closed the connection'
  logForeign(connection.request.log, isFailure ? 'error' : 'debug', { err: error }, message)
}

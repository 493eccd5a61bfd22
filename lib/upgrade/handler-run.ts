import type { IncomingMessage } from 'node:http'
import type { FastifyRequest } from 'fastify'
import { closeAskedFor } from '../base/close.js'
import { logForeign } from '../base/log.js'
import type { AsyncWebSocket } from '../connection/async-web-socket.js'
import type { AcceptOptions } from './accept-options.js'
import { UpgradeAttempt, type AttemptOwner, type OnOpen, type UpgradeContext } from './attempt.js'
import type { RawExchange } from './raw-exchange.js'

// A property of the raw request, because a map of thousands of requests takes more memory
const kUpgrade = Symbol('fastify-websocket-async.upgrade')

interface Upgraded {
  [kUpgrade]?: HandlerRun
}

/** The handler run of an upgrade request, and `undefined` for every other request. */
export function upgradeOf (raw: IncomingMessage): HandlerRun | undefined {
  return (raw as Upgraded)[kUpgrade]
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
  #upgrade: UpgradeAttempt | AsyncWebSocket // one takes the other's place: an open connection keeps nothing of HTTP but the request
  /** Settles when the handler has ended, if it returned a promise. It never rejects. */
  lifetime!: Promise<void>
  #answer: Answer | undefined

  constructor (context: UpgradeContext, exchange: RawExchange) {
    this.#context = context
    this.#upgrade = new UpgradeAttempt(context, exchange, this)
    ;(exchange.raw as Upgraded)[kUpgrade] = this
  }

  /** `undefined` as soon as it was accepted. */
  get attempt (): UpgradeAttempt | undefined {
    return this.#upgrade instanceof UpgradeAttempt ? this.#upgrade : undefined
  }

  /** Runs the handler of the route, and returns what Fastify is to answer. */
  run (handler: () => unknown): unknown {
    this.attempt?.enterHandler()
    let promise
    try {
      const result = handler()
      if (!isThenable(result)) return this.attempt === undefined || this.attempt.opening !== undefined ? undefined : result
      promise = Promise.resolve(result)
    } catch (error) {
      return this.#judgeThrow(error)
    }
    this.lifetime = promise.then((value) => this.#handlerOnReturn(value), (error: unknown) => this.#handlerOnThrow(error))
    this.#context.shutdown.handlerOnStart(this)
    if (this.attempt === undefined) return undefined
    return new Promise((resolve, reject) => { this.#answer = { resolve, reject } })
  }

  /** Accepts the upgrade. Called again, it gives the same connection. */
  accept (request: FastifyRequest, options: AcceptOptions | undefined, onOpen: OnOpen): Promise<AsyncWebSocket> {
    if (this.#upgrade instanceof UpgradeAttempt) return this.#upgrade.accept(request, options, onOpen)
    onOpen(this.#upgrade)
    return Promise.resolve(this.#upgrade)
  }

  attemptOnAccept (connection: AsyncWebSocket): void {
    this.#upgrade = connection
    this.#answer?.resolve(undefined)
    this.#answer = undefined
  }

  /** The app closes without waiting for the handler, because the handler waits for the app to close. */
  excuse (): void {
    const connection = this.#upgrade instanceof UpgradeAttempt ? undefined : this.#upgrade
    const log = connection?.request.log ?? this.#context.log
    log.warn('websocket handler awaits app.close(), which waits for the handlers, and so not for this one; call it there without await')
    connection?.closeForShutdown()
  }

  #handlerOnReturn (value: unknown): void {
    if (this.#upgrade instanceof UpgradeAttempt) {
      this.#answerWith(this.#judgeReturn(value))
    } else {
      closeAsReturned(this.#upgrade)
      this.#context.shutdown.handlerOnEnd(this)
    }
  }

  #handlerOnThrow (error: unknown): void {
    if (this.#upgrade instanceof UpgradeAttempt) {
      this.#answerWith(Promise.resolve().then(() => this.#judgeThrow(error)))
    } else {
      closeAsFailed(this.#upgrade, error)
      this.#context.shutdown.handlerOnEnd(this)
    }
  }

  /** What the handler returned is the HTTP answer, unless the upgrade is being accepted and that succeeds. */
  #judgeReturn (value: unknown): unknown {
    const attempt = this.#upgrade
    if (!(attempt instanceof UpgradeAttempt)) return closeAsReturned(attempt)
    if (attempt.isEnded) return undefined
    return attempt.opening === undefined ? value : attempt.opening.then(closeAsReturned, () => value)
  }

  /** What the handler threw is for Fastify's error handler, unless the upgrade is being accepted and that succeeds. */
  #judgeThrow (error: unknown): unknown {
    const attempt = this.#upgrade
    if (!(attempt instanceof UpgradeAttempt)) return closeAsFailed(attempt, error)
    attempt.leaveHandler()
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
      this.#context.shutdown.handlerOnEnd(this)
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
  const isFailure = asked === undefined && !connection.isEndedBy(error)
  connection.closeWith(asked?.code ?? 1011, asked?.reason ?? '', 'handler-failed') // before the log line, so that the peer need not wait for it
  const message = asked === undefined ? 'websocket handler failed' : 'websocket handler closed the connection'
  logForeign(connection.request.log, isFailure ? 'error' : 'debug', { err: error }, message)
}

function isThenable (value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function'
}

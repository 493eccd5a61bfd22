import type { FastifyReply, FastifyRequest } from 'fastify'
import type { AsyncWebSocket } from '../connection/async-web-socket.js'
import type { AcceptOptions } from './accept-options.js'
import { PendingUpgrade, type OnOpen, type UpgradeContext } from './attempt.js'
import type { RawExchange } from './raw-exchange.js'

/** An upgrade request, and what its handler makes of it: plain HTTP until it is accepted, a connection from then on. */
export class Upgrade {
  readonly #context: UpgradeContext
  #pending: PendingUpgrade | undefined // until it is accepted: an open connection keeps nothing of HTTP but the request
  #connection: AsyncWebSocket | undefined
  /** Settles when the handler has ended, where it has returned a promise. */
  lifetime!: Promise<void>
  #answer: { resolve (value: unknown): void, reject (error: unknown): void } | undefined // to Fastify, which keeps the reply until then

  constructor (context: UpgradeContext, exchange: RawExchange) {
    this.#context = context
    this.#pending = new PendingUpgrade(context, exchange, (connection) => {
      this.#connection = connection
      this.#pending = undefined
      this.#answer?.resolve(undefined)
      this.#answer = undefined
    })
  }

  /** `undefined` when it was accepted. */
  get pending (): PendingUpgrade | undefined {
    return this.#pending
  }

  /**
   * Runs the handler of the route: what it returns before acceptance is the HTTP answer, after it nothing. Its promise
   * is the lifetime of the connection.
   */
  run (reply: FastifyReply, handler: () => unknown): unknown {
    this.#pending?.handlerOnStart(reply)
    let promise
    try {
      const result = handler()
      if (!isThenable(result)) return this.#pending?.withoutPromise(result)
      promise = Promise.resolve(result)
    } catch (error) {
      return this.#pending === undefined ? this.#connection?.handlerOnThrow(error) : this.#pending.handlerOnThrow(error)
    }
    this.lifetime = promise.then((value) => this.#handlerOnReturn(value), (error: unknown) => this.#handlerOnThrow(error))
    this.#context.shutdown.handlerOnStart(this)
    if (this.#connection !== undefined) return undefined
    return new Promise((resolve, reject) => { this.#answer = { resolve, reject } })
  }

  /** Accepts it. Asked again, it gives the same connection. */
  accept (request: FastifyRequest, options: AcceptOptions | undefined, onOpen: OnOpen): Promise<AsyncWebSocket> {
    if (this.#pending !== undefined) return this.#pending.accept(request, options, onOpen)
    const connection = this.#connection as AsyncWebSocket // it is one or the other
    onOpen(connection)
    return Promise.resolve(connection)
  }

  /** It is not waited for when the app closes, because it awaits just that. */
  excuse (): void {
    const log = this.#connection?.request.log ?? this.#context.log
    log.warn('websocket handler awaits app.close(), which waits for the handlers, and so not for this one; call it there without await')
    this.#connection?.closeForShutdown()
  }

  #handlerOnReturn (value: unknown): void {
    if (this.#pending !== undefined) {
      this.#settle(this.#pending.handlerOnReturn(value))
      return
    }
    this.#connection?.handlerOnReturn()
    this.#context.shutdown.handlerOnEnd(this)
  }

  #handlerOnThrow (error: unknown): void {
    if (this.#pending !== undefined) {
      const pending = this.#pending
      this.#settle(Promise.resolve().then(() => pending.handlerOnThrow(error)))
      return
    }
    this.#connection?.handlerOnThrow(error)
    this.#context.shutdown.handlerOnEnd(this)
  }

  async #settle (value: unknown): Promise<void> {
    try {
      const answer = await value
      this.#answer?.resolve(answer)
    } catch (error) {
      this.#answer?.reject(error)
    } finally {
      this.#context.shutdown.handlerOnEnd(this)
    }
  }
}

function isThenable (value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function'
}

import type { FastifyBaseLogger } from 'fastify'

/** A rejected promise that knows whether anybody awaits it. */
class WatchedRejection extends Promise<never> {
  isAwaited = false

  // `await` and the methods of Promise call an overridden then()
  override then<A, B> (onFulfilled?: ((value: never) => A | PromiseLike<A>) | null, onRejected?: ((error: any) => B | PromiseLike<B>) | null): Promise<A | B> {
    this.isAwaited = true
    return super.then(onFulfilled, onRejected)
  }

  static override get [Symbol.species] (): PromiseConstructor {
    return Promise // then() makes ordinary promises
  }
}

/** Rejects a call because of its caller's mistake, and logs the mistake if nobody awaits the promise. */
export function refuseCall (error: unknown, log: FastifyBaseLogger): Promise<never> {
  return rejectWith(error, () => log.error({ err: error }, 'websocket call was refused, and nobody awaited its promise'))
}

/**
 * Rejects a call because of its caller's mistake. If nobody awaits the promise, `onUnawaited` is called, where an unhandled rejection
 * would end the process.
 */
export function rejectWith (error: unknown, onUnawaited: (error: unknown) => void): Promise<never> {
  const rejection = new WatchedRejection((_resolve, reject) => { reject(error) })
  Promise.prototype.then.call(rejection, undefined, () => {})
  setImmediate(() => { if (!rejection.isAwaited) onUnawaited(error) })
  return rejection
}

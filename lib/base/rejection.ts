import type { FastifyBaseLogger } from 'fastify'

/** A rejected promise that knows whether anybody waits for it. */
class WatchedRejection extends Promise<never> {
  isAwaited = false

  // `await` and the methods of Promise call this one, for it is not the one that every promise has
  override then<A, B> (onFulfilled?: ((value: never) => A | PromiseLike<A>) | null, onRejected?: ((error: any) => B | PromiseLike<B>) | null): Promise<A | B> {
    this.isAwaited = true
    return super.then(onFulfilled, onRejected)
  }

  static override get [Symbol.species] (): PromiseConstructor {
    return Promise // what then() makes is an ordinary promise
  }
}

/** Rejects with the mistake of a caller, and logs it where nobody waits for the promise. */
export function refuseCall (error: unknown, log: FastifyBaseLogger): Promise<never> {
  return rejectWith(error, () => log.error({ err: error }, 'websocket call was refused, and nobody awaited its promise'))
}

/**
 * Rejects with the mistake of a caller. Where nobody waits for the promise it calls `onUnawaited` instead of letting an unhandled
 * rejection end the process.
 */
export function rejectWith (error: unknown, onUnawaited: (error: unknown) => void): Promise<never> {
  const rejection = new WatchedRejection((_resolve, reject) => { reject(error) })
  Promise.prototype.then.call(rejection, undefined, () => {})
  setImmediate(() => { if (!rejection.isAwaited) onUnawaited(error) })
  return rejection
}

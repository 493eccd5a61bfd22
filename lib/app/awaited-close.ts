import type { FastifyInstance } from 'fastify'
import type { Shutdown } from './shutdown.js'

/**
 * `app.close` for an app whose handlers it waits for. A handler that awaits it would wait for itself: it is found, as soon as
 * the shutdown has started, and is not waited for.
 */
export function closeFor (app: FastifyInstance, shutdown: Shutdown): FastifyInstance['close'] {
  const { close } = app

  async function closeAwaited (this: FastifyInstance): Promise<undefined> {
    const closed: Promise<undefined> = Reflect.apply(close, this, [])
    await Promise.race([closed, shutdown.started])
    shutdown.excuseWhoAwaitsCaller()
    return closed
  }

  return function (this: FastifyInstance, listener?: () => void) {
    return listener === undefined ? closeAwaited.call(this) : Reflect.apply(close, this, [listener])
  } as FastifyInstance['close'] // its two overloads
}

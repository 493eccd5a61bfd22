import type { FastifyInstance } from 'fastify'
import { AwaiterFinder } from './awaiter-finder.js'
import type { Lifecycle, RunningHandler } from './lifecycle.js'

/**
 * Makes the `app.close` of an app that waits for its handlers. A handler that awaits `app.close()` would wait for itself: it is
 * found when the shutdown has begun, and excused, which means that the app closes without waiting for it.
 */
export function closeWithoutDeadlock (app: FastifyInstance, lifecycle: Lifecycle): FastifyInstance['close'] {
  const { close } = app
  const finder = new AwaiterFinder<RunningHandler>()

  async function closeAwaited (this: FastifyInstance): Promise<undefined> {
    const closed: Promise<undefined> = Reflect.apply(close, this, [])
    await Promise.race([closed, lifecycle.closing])
    excuseHandlerThatAwaitsCaller()
    return closed
  }

  function excuseHandlerThatAwaitsCaller (): void {
    for (const handler of lifecycle.handlers) finder.add(handler, handler.lifetime)
    const handler = finder.findForCaller()
    if (handler === undefined || !lifecycle.handlers.has(handler)) return
    handler.excuse()
    lifecycle.untrackHandler(handler)
  }

  return function (this: FastifyInstance, listener?: () => void) {
    return listener === undefined ? closeAwaited.call(this) : Reflect.apply(close, this, [listener])
  } as FastifyInstance['close'] // which has two overloads
}

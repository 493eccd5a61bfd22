import type { EventEmitter } from 'node:events'

/** The events with which a subscribed Redis connection delivers messages. */
const MESSAGE_EVENTS = ['messageBuffer', 'pmessageBuffer']

/**
 * Anyone with write access to the broker may send anything to it. `mqemitter-redis` decodes and matches messages in its listeners
 * on the connection, where an exception would end the process. This wraps those listeners, so that `onError` gets the exception.
 * Other emitters are left unchanged.
 */
export function guardListeners (emitter: object, onError: (error: unknown) => void): void {
  const { subConn } = emitter as { subConn?: Partial<EventEmitter> } // the ioredis client, which is no instance of EventEmitter
  if (typeof subConn?.rawListeners !== 'function') return
  for (const name of MESSAGE_EVENTS) {
    for (const listener of subConn.rawListeners(name)) {
      subConn.off?.(name, listener as () => void)
      subConn.on?.(name, (...args: unknown[]) => {
        try {
          Reflect.apply(listener, subConn, args)
        } catch (error) {
          onError(error)
        }
      })
    }
  }
}

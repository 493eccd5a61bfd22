import type { EventEmitter } from 'node:events'

/** What a Redis that subscribes emits for a message. */
const MESSAGE_EVENTS = ['messageBuffer', 'pmessageBuffer']

/**
 * Whoever can write to the broker may send anything. `mqemitter-redis` decodes and matches it in its listeners on a connection,
 * and what throws there would end the process: here it goes to `onError`. Other emitters are left as they are.
 */
export function guardListeners (emitter: object, onError: (error: unknown) => void): void {
  const { subConn } = emitter as { subConn?: Partial<EventEmitter> } // of ioredis, which is no instance of EventEmitter
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

import type { EventEmitter } from 'node:events'

export type Listener = (this: any, ...args: any[]) => void

/**
 * The listener with which `ws` hears an event of a transport. Named functions of `ws` are looked for by their names, because a class of
 * sockets may add listeners of its own as soon as `ws` has added these. Where `ws` was minified it is the one that was added last.
 */
export function wsListener (transport: EventEmitter, event: 'data' | 'end' | 'close'): Listener | undefined {
  const listeners = transport.listeners(event) as Listener[]
  const name = { data: 'socketOnData', end: 'socketOnEnd', close: 'socketOnClose' }[event]
  return listeners.findLast((listener) => listener.name === name) ?? listeners.at(-1)
}

/**
 * Makes a function that puts a stand-in in the place of the listener of `ws`. Whoever takes that listener off takes off
 * the stand-in, which names it as those of `once()` do. Emitters share a stand-in if they share the listener, because a function
 * of its own for each would take memory.
 * @param make makes the stand-in for a listener, or for one that does nothing where there is none
 */
export function standInMaker (make: (theirs: Listener) => Listener): (transport: EventEmitter, event: 'data' | 'end' | 'close') => void {
  const made = new WeakMap<Listener, Listener>()
  return (transport, event) => {
    const theirs = wsListener(transport, event) ?? doNothing
    const standIn = made.get(theirs) ?? Object.assign(make(theirs), { listener: theirs })
    made.set(theirs, standIn)
    transport.off(event, theirs)
    transport.on(event, standIn)
  }
}

function doNothing (): void {}

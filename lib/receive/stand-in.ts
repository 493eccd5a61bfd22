import type { EventEmitter } from 'node:events'

export type Listener = (this: any, ...args: any[]) => void

/**
 * Makes a function that puts a stand-in in the place of the listener that was added last. Whoever takes that listener off takes off
 * the stand-in, which names it as those of `once()` do. Emitters share a stand-in if they share the listener, because a function
 * of its own for each would take memory.
 * @param make makes the stand-in for a listener, or for one that does nothing where there is none
 */
export function standInMaker (make: (theirs: Listener) => Listener): (emitter: EventEmitter, event: string) => void {
  const made = new WeakMap<Listener, Listener>()
  return (emitter, event) => {
    const theirs = (emitter.listeners(event).at(-1) ?? doNothing) as Listener
    const standIn = made.get(theirs) ?? Object.assign(make(theirs), { listener: theirs })
    made.set(theirs, standIn)
    emitter.off(event, theirs)
    emitter.on(event, standIn)
  }
}

function doNothing (): void {}

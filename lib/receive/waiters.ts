import { AbortableCalls } from '../base/abortable-calls.js'

/** A receive that waits for a message. */
interface Waiter<T> {
  /** Resolves the promise of the call. */
  resolve (result: unknown): void
  /** Whether the call wants what an iterator gives, and not the message itself. */
  readonly isIteration: boolean
  next: Waiter<T> | undefined
  limit: Limit | undefined
}

/** What ends a call without a message. */
interface Limit {
  readonly cancel: () => void
  readonly calls: AbortableCalls | undefined
  readonly timer: NodeJS.Timeout | undefined
}

/**
 * The receives that wait, first come, first served. They form a linked list, because an array would be most of what an idle
 * connection's queue costs.
 */
export class Waiters<T> {
  #first: Waiter<T> | undefined
  #last: Waiter<T> | undefined
  // One timer serves call after call: it is left running when a call ends, and refreshed for the next one
  #timer: NodeJS.Timeout | undefined
  #timeout = 0
  #timed: Waiter<T> | undefined

  /** Resolves to a message, or to `null` after `timeout` ms, on abort or at the end. */
  add (timeout: number, signal: AbortSignal | undefined): Promise<T | null> {
    const promise = new Promise<T | null>(keepResolve)
    const waiter = this.#append(false)
    if (timeout !== Infinity || signal !== undefined) this.#limit(waiter, timeout, signal)
    return promise
  }

  /** The same as an iterator gives it, without a timeout. */
  addIteration (): Promise<IteratorResult<T, undefined>> {
    const promise = new Promise<IteratorResult<T, undefined>>(keepResolve)
    this.#append(true)
    return promise
  }

  get isEmpty (): boolean {
    return this.#first === undefined
  }

  /** Gives the message to the receive that has waited longest. `false`: none waits. */
  give (message: T): boolean {
    if (this.#first === undefined) return false
    this.#finish(this.#first, message)
    return true
  }

  /** No message will come any more: every receive that waits gets `null`. Returns whether there was one. */
  end (): boolean {
    clearTimeout(this.#timer)
    if (this.#first === undefined) return false
    while (this.#first !== undefined) this.#finish(this.#first, null)
    return true
  }

  /** Adds a waiter for the promise that was made last. */
  #append (isIteration: boolean): Waiter<T> {
    const waiter: Waiter<T> = { resolve: keptResolve, isIteration, next: undefined, limit: undefined }
    if (this.#last === undefined) this.#first = waiter
    else this.#last.next = waiter
    this.#last = waiter
    return waiter
  }

  #limit (waiter: Waiter<T>, timeout: number, signal: AbortSignal | undefined): void {
    const isTimed = timeout !== Infinity
    const sharesTimer = isTimed && this.#timed === undefined
    if (sharesTimer) this.#startTimer(waiter, timeout)
    if (signal === undefined && (sharesTimer || !isTimed)) return
    const cancel = () => this.#finish(waiter, null)
    const calls = signal && AbortableCalls.of(signal)
    waiter.limit = { cancel, calls, timer: isTimed && !sharesTimer ? setTimeout(cancel, timeout) : undefined }
    calls?.add(cancel)
  }

  #startTimer (waiter: Waiter<T>, timeout: number): void {
    this.#timed = waiter
    if (this.#timer !== undefined && timeout === this.#timeout) {
      this.#timer.refresh()
      return
    }
    clearTimeout(this.#timer)
    this.#timeout = timeout
    this.#timer = setTimeout(() => this.#timerOnTimeout(), timeout)
  }

  #timerOnTimeout (): void {
    this.#timer = undefined
    if (this.#timed !== undefined) this.#finish(this.#timed, null)
  }

  /** Ends one call. Without a message it ends this call alone: the next message goes to the receive that waits longest then. */
  #finish (waiter: Waiter<T>, message: T | null): void {
    this.#remove(waiter)
    if (waiter === this.#timed) this.#timed = undefined
    const { resolve, isIteration, limit } = waiter
    if (limit !== undefined) {
      clearTimeout(limit.timer)
      limit.calls?.delete(limit.cancel)
    }
    resolve(isIteration ? toIteration(message) : message)
  }

  #remove (waiter: Waiter<T>): void {
    let before: Waiter<T> | undefined
    for (let each = this.#first; each !== waiter; each = each?.next) before = each
    if (before === undefined) this.#first = waiter.next
    else before.next = waiter.next
    if (this.#last === waiter) this.#last = before
    waiter.next = undefined
  }
}

/** A message as an iterator gives it, or the end of the iteration. */
export function toIteration<T> (message: T | null): IteratorResult<T, undefined> {
  return message === null ? { done: true, value: undefined } : { done: false, value: message }
}

// Resolves the promise that was made last. It is shared, because a closure for each receive would take time and memory
let keptResolve: (result: unknown) => void

function keepResolve (resolve: (result: any) => void): void {
  keptResolve = resolve
}

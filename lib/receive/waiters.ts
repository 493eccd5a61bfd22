import { AbortableCalls } from '../base/abortable-calls.js'

/** A receive that waits for a message. */
interface Waiter<T> {
  /** Resolves the promise of the call. */
  resolve (result: unknown): void
  /** Whether the call wants what an iterator gives, and not the message itself. */
  readonly isIteration: boolean
  readonly calls: AbortableCalls | undefined
  cancel: (() => void) | undefined
  timer: NodeJS.Timeout | undefined
  next: Waiter<T> | undefined
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
    return new Promise((resolve) => this.#append(resolve, false, timeout, signal))
  }

  /** The same as an iterator gives it, without a timeout. */
  addIteration (): Promise<IteratorResult<T, undefined>> {
    return new Promise((resolve) => this.#append(resolve, true, Infinity, undefined))
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

  // The type of the result depends on `isIteration`
  #append (resolve: (result: any) => void, isIteration: boolean, timeout: number, signal: AbortSignal | undefined): void {
    const calls = signal && AbortableCalls.of(signal)
    const waiter: Waiter<T> = { resolve, isIteration, calls, cancel: undefined, timer: undefined, next: undefined }
    if (this.#last === undefined) this.#first = waiter
    else this.#last.next = waiter
    this.#last = waiter
    if (timeout !== Infinity) this.#startTimer(waiter, timeout)
    if (calls === undefined) return
    waiter.cancel = () => this.#finish(waiter, null)
    calls.add(waiter.cancel)
  }

  #startTimer (waiter: Waiter<T>, timeout: number): void {
    if (this.#timed !== undefined) {
      waiter.timer = setTimeout(() => this.#finish(waiter, null), timeout)
      return
    }
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
    const { resolve, isIteration, calls, cancel, timer } = waiter
    this.#remove(waiter)
    if (waiter === this.#timed) this.#timed = undefined
    if (timer !== undefined) clearTimeout(timer)
    if (cancel !== undefined) calls?.delete(cancel)
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

import type { CancelOptions } from './arguments.js'

interface Waiter<T> {
  settle (message: T | null): void
}

/** Messages that wait for a receive, and receives that wait for a message: never both at once. */
export class ReceiveQueue<T> {
  #messages: T[] = []
  // What was taken still stands at the front until half of the array is such: no shift() a message
  #taken = 0
  readonly #waiters = new Set<Waiter<T>>()
  #isEnded = false

  get length (): number {
    return this.#messages.length - this.#taken
  }

  /** A receive waits. */
  get isAwaited (): boolean {
    return this.#waiters.size > 0
  }

  /** No further message will come out. */
  get hasEnded (): boolean {
    return this.#isEnded && this.length === 0
  }

  /** Gives the message to the receive that has waited longest, else keeps it. Not after `end()`. */
  push (message: T): void {
    const [waiter] = this.#waiters
    if (waiter === undefined) this.#messages.push(message)
    else waiter.settle(message)
  }

  /** No more messages come in: who waits gets `null`; what is queued can still be received. */
  end (): void {
    this.#isEnded = true
    for (const waiter of this.#waiters) waiter.settle(null)
  }

  /** The next message in order, or `null` on timeout, abort or end. */
  receive ({ timeout = Infinity, signal }: CancelOptions): Promise<T | null> {
    if (signal?.aborted === true) return nullInALaterTurn()
    if (this.length > 0) return Promise.resolve(this.#take())
    if (this.#isEnded || timeout === 0) return nullInALaterTurn()
    return this.#wait(timeout, signal)
  }

  #take (): T {
    const message = this.#messages[this.#taken++] as T // length > 0 was checked by the caller
    if (this.#taken * 2 >= this.#messages.length) {
      this.#messages = this.#messages.slice(this.#taken)
      this.#taken = 0
    }
    return message
  }

  #wait (timeout: number, signal: AbortSignal | undefined): Promise<T | null> {
    return new Promise((resolve) => {
      // Whatever comes first takes the waiter out: the message goes to it, or stays for the next receive
      const waiter: Waiter<T> = {
        settle: (message) => {
          this.#waiters.delete(waiter)
          clearTimeout(timer)
          signal?.removeEventListener('abort', giveUp)
          resolve(message)
        }
      }
      const giveUp = () => waiter.settle(null)
      const timer = timeout === Infinity ? undefined : setTimeout(giveUp, timeout)
      signal?.addEventListener('abort', giveUp)
      this.#waiters.add(waiter)
    })
  }
}

/** A loop that polls, or receives after the end, must not starve the event loop. */
function nullInALaterTurn (): Promise<null> {
  return new Promise((resolve) => { setImmediate(resolve, null) })
}

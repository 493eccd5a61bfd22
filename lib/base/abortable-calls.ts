const bySignal = new WeakMap<AbortSignal, AbortableCalls>()

/**
 * The calls that a signal ends when it aborts, in the order in which they came. The signal has one listener at most for all that
 * wait with it, on one connection or on many: Node.js 20 warns of a leak where there are more than ten.
 */
export class AbortableCalls {
  readonly #signal: AbortSignal
  #first: (() => void) | undefined // mostly there is no other: a set costs more than the listener
  #others: Set<() => void> | undefined

  static of (signal: AbortSignal): AbortableCalls {
    let calls = bySignal.get(signal)
    if (calls === undefined) bySignal.set(signal, calls = new AbortableCalls(signal))
    return calls
  }

  private constructor (signal: AbortSignal) {
    this.#signal = signal
  }

  add (cancel: () => void): void {
    if (this.#isEmpty) {
      this.#first = cancel
      this.#signal.addEventListener('abort', this.#signalOnAbort)
    } else {
      this.#others ??= new Set()
      this.#others.add(cancel)
    }
  }

  delete (cancel: () => void): void {
    if (cancel === this.#first) this.#first = undefined
    else this.#others?.delete(cancel)
    if (this.#isEmpty) this.#signal.removeEventListener('abort', this.#signalOnAbort)
  }

  get #isEmpty (): boolean {
    return this.#first === undefined && (this.#others === undefined || this.#others.size === 0)
  }

  readonly #signalOnAbort = () => {
    this.#first?.() // it ends its call, which is deleted here
    for (const cancel of this.#others ?? []) cancel()
  }
}

const bySignal = new WeakMap<AbortSignal, AbortableCalls>()

/**
 * The calls that a signal cancels when it aborts, in the order in which they came. All calls with one signal, on one connection or
 * on many, share one listener on it, because Node.js 20 warns of a leak when a signal has more than ten.
 */
export class AbortableCalls {
  readonly #signal: AbortSignal
  #first: (() => void) | undefined // usually the only one, and a set would cost more than the listener
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
    this.#first?.() // the call deletes itself here
    for (const cancel of this.#others ?? []) cancel()
  }
}

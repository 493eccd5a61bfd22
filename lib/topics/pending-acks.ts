/** Time between two ticks, in ms. */
const TICK = 250
/** A request whose acknowledgement has not come by this many ticks has failed. */
const MAX_TICKS = 9

/** The result of a request that was not acknowledged in time. */
export class NoAckError extends Error {
  constructor () {
    super(`the broker did not answer within ${TICK * (MAX_TICKS - 1)} ms`) // the first tick may come right after the request
  }
}

interface PendingAck {
  ticks: number
  finish (error: Error | null): void
}

/**
 * Requests to the broker that wait for its acknowledgement. The timeout counts ticks of a timer instead of elapsed time: after
 * the event loop was blocked, one tick runs, and the answers that arrived meanwhile are read before the next.
 */
export class PendingAcks {
  readonly #pending = new Set<PendingAck>()
  #timer: NodeJS.Timeout | undefined

  /**
   * Makes a request. Resolves to `null` when it is acknowledged, or to an error: the one it was answered with or that `request`
   * has thrown, or a `NoAckError` after the timeout.
   * @param onAck called once with the answer, even if it comes after the timeout
   */
  track (request: (ack: (error?: unknown) => void) => void, onAck: (error: Error | null) => void = () => {}): Promise<Error | null> {
    return new Promise((resolve) => {
      const pending: PendingAck = {
        ticks: 0,
        finish: (error) => {
          if (this.#pending.delete(pending)) resolve(error)
          if (this.#pending.size === 0) this.#stopTimer()
        }
      }
      let isAnswered = false
      const ack = (error: unknown) => {
        if (isAnswered) return
        isAnswered = true
        const result = error instanceof Error ? error : null
        onAck(result)
        pending.finish(result)
      }
      this.#pending.add(pending)
      this.#timer ??= setInterval(() => this.#tick(), TICK)
      try {
        request(ack)
      } catch (error) {
        ack(error instanceof Error ? error : new Error(String(error)))
      }
    })
  }

  /** Finishes every request with the error. */
  end (error: Error): void {
    for (const pending of this.#pending) pending.finish(error)
  }

  #tick (): void {
    for (const pending of this.#pending) {
      if (++pending.ticks === MAX_TICKS) pending.finish(new NoAckError())
    }
  }

  #stopTimer (): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}

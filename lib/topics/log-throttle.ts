/** Time without an event after which the next one is logged again, in ms. */
const QUIET = 30_000

/** Lets the first of a series of events be logged. The series ends when nothing has happened for 30 s. */
export class LogThrottle {
  #quietUntil = 0

  /** To be asked at each event: whether to log this one. */
  isDue (): boolean {
    const now = performance.now()
    const isDue = now >= this.#quietUntil
    this.#quietUntil = now + QUIET
    return isDue
  }
}

/** Something that wants to be looked at from time to time. */
export interface Member {
  visit (): void
}

/** Of a member: the part of the round in which it is visited. */
export type Seat = Set<Member>

/**
 * Visits every member once in a period, a part of them at a time: one timer for thousands of connections, which each would
 * pay for one of its own in time and memory, and no moment at which all of them have their turn.
 */
export class Rounds {
  readonly #seats: readonly Seat[]
  readonly #step: number
  #next = 0
  #size = 0
  #timer: NodeJS.Timeout | undefined

  /** @param period in ms. @param parts @default 16, or fewer where the steps would be too short for a timer */
  constructor (period: number, parts = Math.max(1, Math.min(16, Math.floor(period / 10)))) {
    this.#seats = Array.from({ length: parts }, () => new Set<Member>())
    this.#step = period / parts
  }

  /** The first visit comes after a period, or somewhat earlier. */
  join (member: Member): Seat {
    if (this.#size++ === 0) this.#timer = setInterval(() => this.#visitNext(), this.#step)
    const last = (this.#next + this.#seats.length - 1) % this.#seats.length
    const seat = this.#seats[last] as Seat // below the number of them
    seat.add(member)
    return seat
  }

  leave (member: Member, seat: Seat): void {
    if (!seat.delete(member)) return
    if (--this.#size === 0) clearInterval(this.#timer)
  }

  #visitNext (): void {
    const seat = this.#seats[this.#next] as Seat
    this.#next = (this.#next + 1) % this.#seats.length
    for (const member of seat) member.visit()
  }
}

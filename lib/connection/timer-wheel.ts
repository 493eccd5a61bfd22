/** Something whose `tick` a timer wheel calls. */
export interface Ticking {
  tick (): void
}

/** One of the slots of a wheel. */
export type Slot = Set<Ticking>

/**
 * Calls the `tick` of every member once in a period, one slot at a time. Thousands of connections share its one timer, because a
 * timer of its own costs each of them memory and time, and the slots keep them from having their turn all at the same moment.
 */
export class TimerWheel {
  readonly #slots: readonly Slot[]
  readonly #step: number
  #next = 0
  #size = 0
  #timer: NodeJS.Timeout | undefined

  /**
   * @param period in ms
   * @param slots @default 16, or fewer where the time between two slots would be too short for a timer
   */
  constructor (period: number, slots = Math.max(1, Math.min(16, Math.floor(period / 10)))) {
    this.#slots = Array.from({ length: slots }, () => new Set<Ticking>())
    this.#step = period / slots
  }

  /** The first tick comes after one period, or somewhat earlier. */
  join (member: Ticking): Slot {
    if (this.#size++ === 0) this.#timer = setInterval(() => this.#tickNextSlot(), this.#step)
    const last = (this.#next + this.#slots.length - 1) % this.#slots.length
    const slot = this.#slots[last] as Slot // the index is below the number of slots
    slot.add(member)
    return slot
  }

  leave (member: Ticking, slot: Slot): void {
    if (!slot.delete(member)) return
    if (--this.#size === 0) clearInterval(this.#timer)
  }

  #tickNextSlot (): void {
    const slot = this.#slots[this.#next] as Slot
    this.#next = (this.#next + 1) % this.#slots.length
    for (const member of slot) member.tick()
  }
}

import { BoundedMap } from './bounded-map.js'
import type { Envelope } from './envelope.js'

/** Publications of another node that did not arrive, noticed when a later one did. */
export interface PublicationGap {
  readonly topic: string
  /** How many publications are missing. */
  readonly missed: number
}

/** How many publications are remembered, and for each subscription how many pairs of a sender and a topic. */
const MAX_REMEMBERED = 10_000

/** The last count received from each sender on each topic. */
export type LastCounts = BoundedMap<number>

/**
 * Finds duplicates and gaps among the publications of other nodes. A publication may arrive several times: once for each
 * subscription that matches it, and again if the broker repeats itself. It is new once, and a gap before it is reported once.
 */
export class GapDetector {
  readonly #reported = new BoundedMap<number>(MAX_REMEMBERED) // by publication: how many before it were reported as missing
  readonly #onGap: (gap: PublicationGap) => void

  constructor (onGap: (gap: PublicationGap) => void) {
    this.#onGap = onGap
  }

  /** Each subscription has its own: one that has just begun has missed nothing, while an older one may have. */
  newCounts (): LastCounts {
    return new BoundedMap(MAX_REMEMBERED)
  }

  /**
   * Notes a publication, and reports the gap before it.
   * @param counts those of the subscription through which it came
   * @returns whether it is new
   */
  isNew ({ node, sequence, count }: Envelope, topic: string, counts: LastCounts): boolean {
    const sender = `${node} ${topic}`
    const last = counts.get(sender) ?? count - 1
    counts.set(sender, Math.max(last, count))
    const publication = `${node} ${sequence}`
    const reported = this.#reported.get(publication)
    const missed = Math.max(reported ?? 0, count - last - 1)
    this.#reported.set(publication, missed)
    if (missed > (reported ?? 0)) this.#onGap({ topic, missed: missed - (reported ?? 0) })
    return reported === undefined
  }
}

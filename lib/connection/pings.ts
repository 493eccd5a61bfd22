/** A ping whose pong has not come yet. */
export interface Ping {
  readonly sentAt: number
  /** Ends the wait: with the round trip in ms, or with `null`. */
  finish (latency: number | null): void
}

/** The pings of one connection that wait for their pong. */
export class Pings {
  /** The last round trip that was measured, in ms. */
  latency: number | null = null
  readonly #socket: { ping (payload: string): void }
  #waiting: Map<string, Ping> | undefined // by payload, in the order in which they were sent; undefined while none waits
  #count = 0

  constructor (socket: { ping (payload: string): void }) {
    this.#socket = socket
  }

  /** @param onFinish called once with the round trip in ms, or with `null` when nobody waits for it any longer */
  send (onFinish: (latency: number | null) => void): Ping {
    const payload = String(++this.#count)
    const ping: Ping = {
      sentAt: performance.now(),
      finish: (latency) => {
        this.#remove(payload)
        onFinish(latency)
      }
    }
    this.#waiting ??= new Map()
    this.#waiting.set(payload, ping)
    this.#socket.ping(payload)
    return ping
  }

  /** A pong came. It also answers the pings before its own: a peer need only answer the latest (RFC 6455, section 5.5.3). */
  pongOnReceive (payload: string): void {
    if (this.#waiting?.has(payload) !== true) return
    const now = performance.now()
    for (const [sent, ping] of this.#waiting) {
      this.latency = now - ping.sentAt
      ping.finish(this.latency)
      if (sent === payload) break
    }
  }

  /** Finishes every ping that waits, because the connection has ended. */
  end (): void {
    for (const ping of this.#waiting?.values() ?? []) ping.finish(null)
  }

  #remove (payload: string): void {
    this.#waiting?.delete(payload)
    if (this.#waiting?.size === 0) this.#waiting = undefined
  }
}

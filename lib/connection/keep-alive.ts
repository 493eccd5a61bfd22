import type { Seat } from './timer-wheel.js'

export interface KeepAliveOptions {
  /** A peer that was silent for so many ms is pinged, or somewhat earlier. @default 25000 */
  readonly interval?: number | undefined
  /** How many ms the peer may take to show a sign of life; then it is cut off. @default 20000 */
  readonly timeout?: number | undefined
}

export interface KeepAliveSettings {
  readonly interval: number
  readonly timeout: number
}

/** What the keep-alive needs of its connection. */
export interface KeepAliveTransport {
  /** How many bytes came from the peer so far. */
  readonly inboundBytes: number
  /** Reading is paused: the peer's answer would not be seen. */
  readonly isPaused: boolean
  /** From here on it is told when reading goes on. */
  listen (): void
  ping (payload: string): void
  /** Reads on, up to a bound, although reading is paused. */
  look (): void
  terminate (): void
}

/** What has the silence of the peer looked at twice in an interval. */
interface Visits {
  join (keepAlive: KeepAlive): Seat
  leave (keepAlive: KeepAlive, seat: Seat): void
}

interface Ping {
  readonly sentAt: number
  settle (latency: number | null): void
}

/**
 * Protocol pings (RFC 6455, section 5.5.2) and what they tell: whether the peer lives, and how far away it is.
 */
export class KeepAlive {
  latency: number | null = null
  readonly #transport: KeepAliveTransport
  readonly #options: KeepAliveSettings | null
  readonly #visits: Visits | null
  #pings: Map<string, Ping> | undefined // those that wait for their pong, in order; made for the first
  #lastPing = 0
  #seat: Seat | undefined // while nobody was asked for anything
  #isVisited = false // in this seat, at least once
  #timer: NodeJS.Timeout | undefined // until the peer is judged
  #inboundBytes = 0 // when we last looked
  #ownPing: Ping | undefined
  #isPongNeeded = false
  #due = 0 // when the peer is judged

  /** @param options `null`: no pings but those that are asked for, and no visits */
  constructor (transport: KeepAliveTransport, options: KeepAliveSettings | null, visits: Visits | null) {
    this.#transport = transport
    this.#options = options
    this.#visits = visits
  }

  start (): void {
    if (this.#options !== null) this.#waitForSilence()
  }

  /** The connection is no longer open. */
  stop (): void {
    clearTimeout(this.#timer)
    this.#leave()
    for (const ping of this.#pings?.values() ?? []) ping.settle(null)
  }

  /** The round trip in ms, or `null` on timeout or at the end of the connection. */
  ping (timeout: number): Promise<number | null> {
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout | undefined
      const ping = this.#send((latency) => {
        clearTimeout(timer)
        resolve(latency)
      })
      if (timeout !== Infinity) timer = setTimeout(() => ping.settle(null), timeout)
    })
  }

  /** Reading goes on: the peer has the whole time again to be heard. */
  readingOnResume (): void {
    if (this.#options !== null) this.#due = performance.now() + this.#options.timeout
  }

  /** A pong came. One may answer several pings: those before it too (RFC 6455, section 5.5.3). */
  pongOnReceive (payload: string): void {
    if (this.#pings?.has(payload) !== true) return
    const now = performance.now()
    for (const [sent, ping] of this.#pings) {
      this.latency = now - ping.sentAt
      ping.settle(this.latency)
      if (sent === payload) break
    }
  }

  #send (onSettle: (latency: number | null) => void): Ping {
    if (this.#lastPing === 0) this.#transport.listen()
    const payload = String(++this.#lastPing)
    const pings = this.#pings ??= new Map()
    const ping: Ping = {
      sentAt: performance.now(),
      settle: (latency) => {
        pings.delete(payload)
        onSettle(latency)
      }
    }
    pings.set(payload, ping)
    this.#transport.ping(payload)
    return ping
  }

  #waitForSilence (): void {
    this.#isVisited = false
    this.#seat = this.#visits?.join(this)
  }

  #leave (): void {
    if (this.#seat !== undefined) this.#visits?.leave(this, this.#seat)
    this.#seat = undefined
  }

  // Silent for a whole period between two visits: with the one before, which began somewhere, an interval at most
  visit (): void {
    const isSilent = this.#transport.inboundBytes === this.#inboundBytes
    this.#inboundBytes = this.#transport.inboundBytes
    if (isSilent && this.#isVisited) this.#ask()
    this.#isVisited = true
  }

  #ask (): void {
    const { timeout } = this.#options as KeepAliveSettings // or we would not have started
    this.#leave()
    this.#ownPing?.settle(null) // a pong to this one will tell as much
    this.#ownPing = this.#send((latency) => {
      if (latency === null) return
      clearTimeout(this.#timer)
      this.#inboundBytes = this.#transport.inboundBytes
      this.#waitForSilence()
    })
    // What is read now may have been waiting since long ago: only the pong tells
    this.#isPongNeeded = this.#transport.isPaused
    if (this.#isPongNeeded) this.#transport.look()
    this.#due = performance.now() + timeout
    this.#judgeIn(timeout)
  }

  #judgeIn (delay: number): void {
    this.#timer = setTimeout(() => this.#judge(), delay)
  }

  #judge (): void {
    const { timeout } = this.#options as KeepAliveSettings
    const hasSpoken = this.#transport.inboundBytes !== this.#inboundBytes
    this.#inboundBytes = this.#transport.inboundBytes
    const late = performance.now() - this.#due
    if (this.#transport.isPaused || (hasSpoken && !this.#isPongNeeded)) {
      this.#ask() // paused again, there is more to read than the look admits: whether the peer lives is not known
    } else if (late < -1) {
      this.#judgeIn(-late) // reading was resumed meanwhile
    } else if (late > timeout / 10) {
      this.#due += late + timeout // the event loop was busy, and has not read what came meanwhile
      this.#judgeIn(timeout)
    } else {
      this.#transport.terminate()
    }
  }
}

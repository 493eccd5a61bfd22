import { Pings, type Ping } from './pings.js'
import type { Slot, Ticking } from './timer-wheel.js'

export interface KeepAliveOptions {
  /** A peer that has been silent for this many ms is pinged, or somewhat earlier. @default 25000 */
  readonly interval?: number | undefined
  /** How many ms the peer then has to show a sign of life before its connection is terminated. @default 20000 */
  readonly timeout?: number | undefined
}

export interface KeepAliveSettings {
  readonly interval: number
  readonly timeout: number
}

/** What the keep-alive needs of its connection. */
export interface KeepAliveOwner {
  readonly _inbound: {
    /** Bytes that came from the peer so far. */
    readonly bytesRead: number
  }
  readonly _queue: {
    /** Reads on, up to a bound, although reading is paused. */
    readAhead (): void
  }
  readonly socket: {
    /** Whether reading is paused, so that an answer of the peer would not be seen. */
    readonly isPaused: boolean
    ping (payload: string): void
  }
  /** From here on the keep-alive hears when reading goes on after a pause. */
  reportResumes (): void
  terminateWith (cause: 'keep-alive'): void
}

/** Ticks twice in an interval. */
interface Wheel {
  join (member: Ticking): Slot
  leave (member: Ticking, slot: Slot): void
}

/** In place of a number of bytes: there was no tick yet. */
const UNKNOWN = -1

/** Pings a peer that is silent (RFC 6455, section 5.5.2), and terminates the connection of one that does not answer. */
export class KeepAlive implements Ticking {
  readonly #owner: KeepAliveOwner
  readonly #settings: KeepAliveSettings | null
  readonly #wheel: Wheel | null
  #pings: Pings | undefined // made for the first ping
  #slot: Slot | undefined // while the peer is not being asked
  #timer: NodeJS.Timeout | undefined // while it is
  #inboundBytes = UNKNOWN // at the last tick or judgement
  #ownPing: Ping | undefined
  #isPongNeeded = false
  #due = 0 // when the peer is judged, on the clock of `performance.now()`

  /** @param settings `null`: only `ping()` works, and no peer is ever asked */
  constructor (owner: KeepAliveOwner, settings: KeepAliveSettings | null, wheel: Wheel | null) {
    this.#owner = owner
    this.#settings = settings
    this.#wheel = wheel
  }

  get latency (): number | null {
    return this.#pings?.latency ?? null
  }

  start (): void {
    if (this.#settings !== null) this.#waitForSilence()
  }

  /** The connection is no longer open. */
  stop (): void {
    clearTimeout(this.#timer)
    this.#leaveWheel()
    this.#pings?.end()
  }

  /** Resolves to the round trip in ms, or to `null` after `timeout` ms or at the end of the connection. */
  ping (timeout: number): Promise<number | null> {
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout | undefined
      const ping = this.#send((latency) => {
        clearTimeout(timer)
        resolve(latency)
      })
      if (timeout !== Infinity) timer = setTimeout(() => ping.finish(null), timeout)
    })
  }

  pongOnReceive (payload: string): void {
    this.#pings?.pongOnReceive(payload)
  }

  /** Reading goes on after a pause, so the peer gets the whole timeout again. */
  readingOnResume (): void {
    if (this.#settings !== null) this.#due = performance.now() + this.#settings.timeout
  }

  /** A peer that is silent from one tick to the next was silent for half an interval at least, and for a whole one at most. */
  tick (): void {
    const isSilent = this.#owner._inbound.bytesRead === this.#inboundBytes
    this.#inboundBytes = this.#owner._inbound.bytesRead
    if (isSilent) this.#ask()
  }

  #send (onFinish: (latency: number | null) => void): Ping {
    if (this.#pings === undefined) {
      this.#pings = new Pings(this.#owner.socket)
      this.#owner.reportResumes()
    }
    return this.#pings.send(onFinish)
  }

  #waitForSilence (): void {
    this.#slot = this.#wheel?.join(this)
  }

  #leaveWheel (): void {
    if (this.#slot !== undefined) this.#wheel?.leave(this, this.#slot)
    this.#slot = undefined
  }

  #ask (): void {
    const { timeout } = this.#settings as KeepAliveSettings // without settings it does not start
    this.#leaveWheel()
    this.#ownPing?.finish(null) // a pong to the new ping proves the same
    this.#ownPing = this.#send((latency) => {
      if (latency === null) return
      clearTimeout(this.#timer)
      this.#timer = this.#ownPing = undefined // else every connection that was ever silent would keep them
      this.#inboundBytes = UNKNOWN
      this.#waitForSilence()
    })
    // What is read now may have waited for long, so only the pong is a sign of life
    this.#isPongNeeded = this.#owner.socket.isPaused
    if (this.#isPongNeeded) this.#owner._queue.readAhead()
    this.#due = performance.now() + timeout
    this.#judgeIn(timeout)
  }

  #judgeIn (delay: number): void {
    this.#timer = setTimeout(() => this.#judge(), delay)
  }

  #judge (): void {
    const { timeout } = this.#settings as KeepAliveSettings
    const hasSpoken = this.#owner._inbound.bytesRead !== this.#inboundBytes
    this.#inboundBytes = this.#owner._inbound.bytesRead
    const late = performance.now() - this.#due
    if (this.#owner.socket.isPaused || (hasSpoken && !this.#isPongNeeded)) {
      this.#ask() // still paused: more waits than reading ahead admits, so a pong would not be seen
    } else if (late < -1) {
      this.#judgeIn(-late) // reading was resumed meanwhile
    } else if (late > timeout / 10) {
      this.#due += late + timeout // the event loop was busy, and has not read yet what came meanwhile
      this.#judgeIn(timeout)
    } else {
      this.#owner.terminateWith('keep-alive')
    }
  }
}

import { isSmallPart } from '../base/own-memory.js'
import { MESSAGE_COST, READ_SIZE, type Amount, type ReceiveLimits } from './receive-limits.js'
import { toIteration, Waiters } from './waiters.js'

/** What the queue does to its connection. */
interface Flow {
  /** Stops reading from the peer. */
  pauseReading (): void
  resumeReading (): void
  /** A receive was called after the end, when no message is left. */
  receiveOnEnd (): void
}

/** A message that waits. */
interface Waiting {
  /** Bytes of the payload. */
  readonly length: number
  /** Bytes of the memory that it keeps alive. */
  readonly memory: number
  /** Moves the payload to other memory. Returns where it ends there. */
  moveTo (memory: Buffer, start: number): number
}

/**
 * Messages that wait for a receive, or receives that wait for a message: never both at once. Above a mark it has reading paused, and
 * resumed at a quarter of it.
 */
export class ReceiveQueue<T extends Waiting> {
  /** How many messages wait. */
  length = 0
  readonly #limits: ReceiveLimits
  readonly #flow: Flow
  readonly #waiters = new Waiters<T>()
  // 'paused' at the high-water mark; 'ahead' reads on beyond it, up to the probe's mark; 'stopped' is paused at the probe's mark
  #reading: 'on' | 'paused' | 'ahead' | 'stopped' | 'ended' = 'on'
  #messages: (T | undefined)[] = []
  // Slots that were taken are sliced off once they are half the array: a message costs O(1), without shift()
  #taken = 0
  #bytes = 0
  #pinned = 0 // bytes of the reads that waiting messages may keep in memory
  #moved = 0 // so many messages at the start of the array have memory of their own

  constructor (limits: ReceiveLimits, flow: Flow) {
    this.#limits = limits
    this.#flow = flow
  }

  /** Whether no further message will come out. */
  get hasEnded (): boolean {
    return this.#reading === 'ended' && this.length === 0
  }

  /** Whether a receive waits for a message. */
  get isWaitedFor (): boolean {
    return !this.#waiters.isEmpty
  }

  /**
   * Gives the message to the receive that has waited longest, or keeps it. Must not be called after `end()`.
   * @returns `false`: the hard cap is reached, so the message is refused
   */
  push (message: T): boolean {
    if (this.#waiters.give(message)) return true
    const { hardCap } = this.#limits
    if (this.length >= hardCap.messages || this.#bytes >= hardCap.bytes) return false
    if (this.length === 0) this.#pinned = READ_SIZE // an estimate, because asking a message for its memory takes time
    this.length++
    this.#messages.push(message)
    this.#bytes += message.length + MESSAGE_COST
    if (this.#reading === 'on' && this.#isAbove(this.#limits.highWater)) this.#pause('paused')
    else if (this.#reading === 'ahead' && this.#isAbove(this.#limits.probeHighWater)) this.#pause('stopped')
    return true
  }

  /**
   * A read came in while messages wait, and the messages in it follow. A message keeps the whole read in memory of which it is a part, so
   * messages that wait are moved out of their reads before those add up.
   */
  readOnStart (chunk: Buffer): void {
    if (this.#pinned > this.#limits.highWater.bytes / 4) this.#moveOut()
    this.#pinned += chunk.buffer.byteLength
  }

  /** While reading is paused: reads on, up to a higher mark, to see what the peer has sent meanwhile. Works once in each pause. */
  readAhead (): void {
    if (this.#reading !== 'paused') return
    if (this.#isAbove(this.#limits.probeHighWater)) this.#reading = 'stopped'
    else this.#resume('ahead')
  }

  /**
   * No more messages come in. Receives that wait get `null`; messages that wait can still be received.
   * @returns whether a receive waited
   */
  end (): boolean {
    if (this.#reading === 'ended') return false
    const isPaused = this.#reading === 'paused' || this.#reading === 'stopped'
    this.#reading = 'ended'
    const hadWaiter = this.#waiters.end()
    if (isPaused) this.#flow.resumeReading() // or the peer's close frame would not be seen
    return hadWaiter
  }

  /** The next message in order, or `null` on timeout, abort or end. */
  receive (timeout = Infinity, signal?: AbortSignal): Promise<T | null> {
    if (this.hasEnded) return this.#afterEnd(null)
    if (signal?.aborted === true) return inALaterTurn(null)
    if (this.length > 0) return Promise.resolve(this.#take())
    if (timeout === 0) return inALaterTurn(null)
    return this.#waiters.add(timeout, signal)
  }

  /** The next message as an iterator gives it, without a timeout. */
  next (): Promise<IteratorResult<T, undefined>> {
    if (this.hasEnded) return this.#afterEnd(toIteration<T>(null))
    if (this.length > 0) return Promise.resolve(toIteration(this.#take()))
    return this.#waiters.addIteration()
  }

  /** The next message if it is here, else `null`. */
  poll (): T | null {
    return this.length > 0 ? this.#take() : null
  }

  #afterEnd<R> (result: R): Promise<R> {
    this.#flow.receiveOnEnd()
    return inALaterTurn(result)
  }

  #take (): T {
    const message = this.#messages[this.#taken] as T // the caller has checked that there is one
    this.#messages[this.#taken++] = undefined
    this.length--
    this.#bytes -= message.length + MESSAGE_COST
    if (this.#taken * 2 >= this.#messages.length) {
      this.#messages = this.#messages.slice(this.#taken)
      this.#moved = Math.max(0, this.#moved - this.#taken)
      this.#taken = 0
    }
    if (this.#reading !== 'on' && this.#reading !== 'ended') this.#relax()
    return message
  }

  /** Reads on as usual once both amounts are down to a quarter of the mark. */
  #relax (): void {
    const { messages, bytes } = this.#limits.highWater
    if (this.length > messages / 4 || this.#bytes > bytes / 4) return
    if (this.#reading === 'ahead') this.#reading = 'on'
    else this.#resume('on')
  }

  /** Moves payloads that wait into memory of their own, all together. A payload that is nearly its whole read can stay. */
  #moveOut (): void {
    const waiting = this.#messages.slice(Math.max(this.#moved, this.#taken)) as T[] // none of these was taken
    const messages = waiting.filter(({ length, memory }) => isSmallPart(length, memory))
    const memory = Buffer.allocUnsafeSlow(messages.reduce((sum, { length }) => sum + length, 0))
    let end = 0
    for (const message of messages) end = message.moveTo(memory, end)
    this.#moved = this.#messages.length
    this.#pinned = 0
  }

  #isAbove ({ messages, bytes }: Amount): boolean {
    return this.length > messages || this.#bytes > bytes
  }

  #pause (reading: 'paused' | 'stopped'): void {
    this.#reading = reading
    this.#flow.pauseReading()
  }

  #resume (reading: 'on' | 'ahead'): void {
    this.#reading = reading
    this.#flow.resumeReading()
  }
}

/** Settles in a later turn, because a loop that polls, or that receives after the end, must not starve the event loop. */
function inALaterTurn<R> (result: R): Promise<R> {
  return new Promise((resolve) => { setImmediate(resolve, result) })
}

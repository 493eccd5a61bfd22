import { AbortableCalls } from '../base/abortable-calls.js'

/** How much may wait: messages, and bytes. */
export interface Amount {
  readonly messages: number
  readonly bytes: number
}

/** Bounds of what waits. Bytes are bytes of memory: those of the payloads, and what each message takes beside its payload. */
export interface ReceiveLimits {
  /** Above either, reading is paused; at a quarter of both it is resumed. */
  readonly mark: Amount
  /** The mark in place of `mark` once `look()` was called, until reading is resumed at a quarter. */
  readonly look: Amount
  /** At either, nothing more is taken: only a peer that means harm gets here. */
  readonly cap: Amount
}

/** Of the connection whose messages wait here. */
interface Flow {
  pause (): void
  resume (): void
}

/** What Node reads from a socket at once, in bytes. */
const READ = 64 * 1024

/** So many frames can be in one read: a masked one has six bytes at least. */
export const FRAMES_IN_A_READ = Math.ceil(READ / 6)

/** What a message takes beside its payload, in bytes: the message, its view on the payload, and its place in the queue. */
export const MESSAGE_COST = 200

/**
 * After a pause `ws` still puts out what was read already: one read, and the message that it completes. A look admits one
 * more, unless the first was full of tiny messages, each of which takes much more than its payload. Where `ws` takes its time
 * with each message, as with compression, no more than one message comes after a pause.
 */
export function receiveLimits (mark: Amount, maxPayload: number): ReceiveLimits {
  const add = (reads: number): Amount => ({
    messages: mark.messages + reads * FRAMES_IN_A_READ,
    bytes: mark.bytes + reads * (READ + maxPayload) + (reads - 1) * FRAMES_IN_A_READ * MESSAGE_COST
  })
  return { mark, look: add(1), cap: add(2) }
}

/** What waits: the bytes of its payload may be moved to other memory. */
interface Waiting {
  readonly length: number
  bytes: Buffer
}

/** A receive that waits. */
interface Waiter<T> {
  /** Of a promise of what `toResult` makes of it. */
  readonly resolve: (result: unknown) => void
  readonly toResult: (message: T | null) => unknown
  readonly calls: AbortableCalls | undefined
  giveUp: (() => void) | undefined
  timer: NodeJS.Timeout | undefined
  next: Waiter<T> | undefined
}

/** Messages that wait for a receive, and receives that wait for a message: never both at once. */
export class ReceiveQueue<T extends Waiting> {
  readonly #limits: ReceiveLimits
  readonly #flow: Flow
  #messages: (T | undefined)[] = []
  // What was taken still counts among the first half of the array: no shift() a message
  #taken = 0
  #bytes = 0
  #pinned = 0 // of reads that messages in the queue may be views of
  #moved = 0 // so many messages of the array are views of no read any more
  #firstWaiter: Waiter<T> | undefined // they are a list: an array would be most of what an idle queue costs
  #lastWaiter: Waiter<T> | undefined
  #isEnded = false
  #isPaused = false
  #mark: Amount // the one in force
  // One timer serves call after call: it is left running, and set back for the next
  #timer: NodeJS.Timeout | undefined
  #timeout = 0
  #timedWaiter: Waiter<T> | undefined

  constructor (limits: ReceiveLimits, flow: Flow) {
    this.#limits = limits
    this.#flow = flow
    this.#mark = limits.mark
  }

  get length (): number {
    return this.#messages.length - this.#taken
  }

  /** A receive waits. */
  get isAwaited (): boolean {
    return this.#firstWaiter !== undefined
  }

  /** No further message will come out. */
  get hasEnded (): boolean {
    return this.#isEnded && this.length === 0
  }

  /**
   * Gives the message to the receive that has waited longest, else keeps it. `false`: it was not taken, for the cap is
   * reached. Not after `end()`.
   */
  push (message: T): boolean {
    if (this.#firstWaiter !== undefined) {
      this.#settle(this.#firstWaiter, message)
      return true
    }
    const { cap } = this.#limits
    if (this.length >= cap.messages || this.#bytes >= cap.bytes) return false
    this.#messages.push(message)
    this.#bytes += message.length + MESSAGE_COST
    if (!this.#isPaused && this.#isAbove(this.#mark)) this.#pause()
    return true
  }

  /**
   * Something was read, and the messages in it come next. A message may be a view that keeps in memory all that was read with
   * it: those that wait are moved before that is much.
   */
  readOnStart (chunk: Buffer): void {
    if (this.length === 0) {
      this.#pinned = READ // about: the buffer of a chunk takes time to ask for
      return
    }
    if (this.#pinned > this.#limits.mark.bytes / 4) this.#move()
    this.#pinned += chunk.buffer.byteLength
  }

  /** While reading is paused: reads on up to a higher mark, to see what the peer did meanwhile. Once in each pause. */
  look (): void {
    if (!this.#isPaused || this.#mark === this.#limits.look) return
    this.#mark = this.#limits.look
    if (!this.#isAbove(this.#mark)) this.#resume()
  }

  /** No more messages come in: who waits gets `null`; what is queued can still be received. */
  end (): void {
    this.#isEnded = true
    clearTimeout(this.#timer)
    while (this.#firstWaiter !== undefined) this.#settle(this.#firstWaiter, null)
    if (this.#isPaused) this.#resume() // or the peer's close frame would not be seen
  }

  /** The next message in order, or `null` on timeout, abort or end. */
  receive (timeout = Infinity, signal?: AbortSignal): Promise<T | null> {
    if (signal?.aborted === true) return inALaterTurn(null)
    if (this.length > 0) return Promise.resolve(this.#take())
    if (this.#isEnded || timeout === 0) return inALaterTurn(null)
    return this.#wait(itself, timeout, signal)
  }

  /** The same without a limit, as an iterator gives it. */
  next (): Promise<IteratorResult<T, undefined>> {
    if (this.length > 0) return Promise.resolve(toIteration(this.#take()))
    if (this.#isEnded) return inALaterTurn(toIteration<T>(null))
    return this.#wait(toIteration, Infinity, undefined)
  }

  /** The next message, if it is here. */
  poll (): T | null {
    return this.length > 0 ? this.#take() : null
  }

  #take (): T {
    const message = this.#messages[this.#taken] as T // length > 0 was checked by the caller
    this.#messages[this.#taken++] = undefined
    this.#bytes -= message.length + MESSAGE_COST
    if (this.#taken * 2 >= this.#messages.length) {
      this.#messages = this.#messages.slice(this.#taken)
      this.#moved = Math.max(0, this.#moved - this.#taken)
      this.#taken = 0
    }
    if (this.#isPaused || this.#mark !== this.#limits.mark) this.#relax()
    return message
  }

  #relax (): void {
    const { mark } = this.#limits
    if (this.#isEnded || this.length > mark.messages / 4 || this.#bytes > mark.bytes / 4) return
    this.#mark = mark
    if (this.#isPaused) this.#resume()
  }

  /** Moves the payloads that wait into memory of their own, all together: one that is nearly its whole read can stay. */
  #move (): void {
    const waiting = this.#messages.slice(Math.max(this.#moved, this.#taken)) as T[] // none of them was taken
    const messages = waiting.filter(({ bytes }) => bytes.length * 5 < bytes.buffer.byteLength * 4)
    const memory = Buffer.allocUnsafeSlow(messages.reduce((sum, { length }) => sum + length, 0))
    let end = 0
    for (const message of messages) {
      const start = end
      end += message.bytes.copy(memory, start)
      message.bytes = memory.subarray(start, end)
    }
    this.#moved = this.#messages.length
    this.#pinned = 0
  }

  #wait<R> (toResult: (message: T | null) => R, timeout: number, signal: AbortSignal | undefined): Promise<R> {
    return new Promise((resolve) => {
      // Whatever results a call wants, its waiter resolves its own promise
      const calls = signal && AbortableCalls.of(signal)
      const waiter: Waiter<T> = { resolve: resolve as (result: unknown) => void, toResult, calls, giveUp: undefined, timer: undefined, next: undefined }
      if (this.#lastWaiter === undefined) this.#firstWaiter = waiter
      else this.#lastWaiter.next = waiter
      this.#lastWaiter = waiter
      if (timeout !== Infinity) this.#startTimer(waiter, timeout)
      if (calls === undefined) return
      waiter.giveUp = () => this.#settle(waiter, null)
      calls.add(waiter.giveUp)
    })
  }

  #startTimer (waiter: Waiter<T>, timeout: number): void {
    if (this.#timedWaiter !== undefined) {
      waiter.timer = setTimeout(() => this.#settle(waiter, null), timeout)
      return
    }
    this.#timedWaiter = waiter
    if (this.#timer !== undefined && timeout === this.#timeout) {
      this.#timer.refresh()
      return
    }
    clearTimeout(this.#timer)
    this.#timeout = timeout
    this.#timer = setTimeout(() => this.#timerOnTimeout(), timeout)
  }

  #timerOnTimeout (): void {
    this.#timer = undefined
    if (this.#timedWaiter !== undefined) this.#settle(this.#timedWaiter, null)
  }

  #remove (waiter: Waiter<T>): void {
    let before: Waiter<T> | undefined
    for (let each = this.#firstWaiter; each !== waiter; each = each?.next) before = each
    if (before === undefined) this.#firstWaiter = waiter.next
    else before.next = waiter.next
    if (this.#lastWaiter === waiter) this.#lastWaiter = before
    waiter.next = undefined
  }

  /** Without a message it only ends this call: the next message goes to whoever waits then. */
  #settle (waiter: Waiter<T>, message: T | null): void {
    const { resolve, toResult, calls, giveUp, timer } = waiter
    this.#remove(waiter)
    if (waiter === this.#timedWaiter) this.#timedWaiter = undefined
    if (timer !== undefined) clearTimeout(timer)
    if (giveUp !== undefined) calls?.delete(giveUp)
    resolve(toResult(message))
  }

  #isAbove ({ messages, bytes }: Amount): boolean {
    return this.length > messages || this.#bytes > bytes
  }

  #pause (): void {
    this.#isPaused = true
    this.#flow.pause()
  }

  #resume (): void {
    this.#isPaused = false
    this.#flow.resume()
  }
}

function itself<T> (message: T | null): T | null {
  return message
}

function toIteration<T> (message: T | null): IteratorResult<T, undefined> {
  return message === null ? { done: true, value: undefined } : { done: false, value: message }
}

/** A loop that polls, or receives after the end, must not starve the event loop. */
function inALaterTurn<R> (result: R): Promise<R> {
  return new Promise((resolve) => { setImmediate(resolve, result) })
}

import { ServerResponse, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Settings } from '../plugin/options.js'
import type { Shutdown } from '../app/shutdown.js'

/** What Node gives to a listener for upgrades. */
export interface UpgradeRequest {
  readonly raw: IncomingMessage
  readonly socket: Socket
  readonly head: Buffer
}

/** Decides what becomes of an exchange while it is watched. */
export interface ExchangeOwner {
  /** No answer was begun within `upgradeTimeout`. Returns whether the socket is destroyed for it. */
  exchangeOnTimeout (): boolean
  /** An HTTP answer went out whole: the connection ends. */
  exchangeOnAnswer (): void
  /** The socket has closed. */
  exchangeOnClose (): void
  /** The app is closing: answers 503 where nothing was answered yet. */
  refuse (): void
}

/** The owner of an exchange whose answer is settled. */
const NOBODY: ExchangeOwner = {
  exchangeOnTimeout: () => true,
  exchangeOnAnswer () {},
  exchangeOnClose () {},
  refuse () {}
}

/** How long a client may take to close its side after an HTTP answer, in ms. */
const LINGER = 1_000

/** The client has to take some of an answer within `upgradeTimeout`, but never within less than this, or more if that is Infinity, in ms. */
const MIN_PATIENCE = 1_000
const MAX_PATIENCE = 10_000

interface ExchangeContext {
  readonly settings: Pick<Settings, 'upgradeTimeout'>
  readonly shutdown: Shutdown
}

/**
 * An upgrade request and its socket, which Node has let go of. While it is watched, the socket has a listener for errors and
 * a deadline, so that it ends whatever the client does: an HTTP answer has to begin in time, the client has to take it, and
 * then the connection ends.
 */
export class RawExchange {
  readonly raw: IncomingMessage
  readonly socket: Socket
  readonly head: Buffer
  readonly response: ServerResponse
  /** Others listen for upgrades of the server as well. */
  readonly isShared: boolean
  readonly #context: ExchangeContext
  #owner: ExchangeOwner | undefined // while it is watched
  #onClose: (() => void) | undefined // likewise
  #timer: NodeJS.Timeout | undefined
  #progress: string | undefined // when it was looked at last

  constructor (context: ExchangeContext, { raw, socket, head }: UpgradeRequest, isShared = false) {
    this.isShared = isShared
    this.#context = context
    this.raw = raw
    this.socket = socket
    this.head = head
    this.response = new ServerResponse(raw)
  }

  watch (owner: ExchangeOwner): void {
    const { socket, response } = this
    this.#owner = owner
    this.#onClose = () => {
      this.unwatch()
      owner.exchangeOnClose()
    }
    socket.on('error', destroyOnError)
    socket.on('drain', socketOnDrain)
    socket.once('close', this.#onClose)
    response.once('finish', () => this.#responseOnFinish())
    this.#lookIn(this.#timeout)
    this.#context.shutdown.addUpgrade(this)
  }

  /** Leaves the request to the other listeners of the server, which may take it until `upgradeTimeout` has passed. */
  leaveToOthers (): void {
    this.response.detachSocket(this.socket)
    const isGivenUp = () => {
      if (isTaken(this.raw, this.socket)) this.unwatch()
      return this.#owner !== undefined
    }
    this.watch({ ...NOBODY, exchangeOnTimeout: isGivenUp, refuse: () => { if (isGivenUp()) this.destroy() } })
  }

  /** The socket becomes somebody else's. */
  unwatch (): void {
    if (this.#onClose === undefined) return
    clearTimeout(this.#timer)
    this.socket.off('error', destroyOnError)
    this.socket.off('drain', socketOnDrain)
    this.socket.off('close', this.#onClose)
    this.#owner = this.#onClose = undefined
    this.#context.shutdown.deleteUpgrade(this)
  }

  /** Ends the connection, with a status if one is given, once the requests before this one have been answered. */
  endInTurn (status?: number): void {
    this.watch(NOBODY)
    this.#endAfter(responseOn(this.socket), status)
  }

  /** The app is closing. */
  refuse (): void {
    this.#owner?.refuse()
  }

  destroy (): void {
    this.socket.destroy()
  }

  // Node's own listener for its end comes before ours, and has begun the next answer by then
  #endAfter (earlier: ServerResponse | undefined, status: number | undefined): void {
    const { socket, response } = this
    if (socket.destroyed) return
    if (earlier !== undefined) {
      earlier.once('finish', () => this.#endAfter(responseOn(socket), status))
    } else if (status === undefined) {
      this.#end()
    } else {
      response.assignSocket(socket)
      response.writeHead(status, { connection: 'close' }).end()
    }
  }

  #responseOnFinish (): void {
    if (this.#owner === undefined || this.socket.destroyed) return // what could not be sent counts as finished then
    this.#owner.exchangeOnAnswer()
    this.#end()
  }

  // Destroying it at once would reset the connection if the client had sent more than its request, and the answer would be lost
  #end (): void {
    const { socket, raw } = this
    socket.end()
    if (raw.complete === false) raw.resume()
    socket.resume()
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => socket.destroy(), LINGER)
  }

  get #timeout (): number {
    const { upgradeTimeout } = this.#context.settings
    return upgradeTimeout === Infinity ? MAX_PATIENCE : upgradeTimeout
  }

  #lookIn (timeout: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      const hasBegun = responseOn(this.socket)?.headersSent === true
      if (hasBegun ? this.#isStalled() : this.#isLate()) this.socket.destroy()
      else if (this.#owner !== undefined) this.#lookIn(Math.max(this.#timeout, MIN_PATIENCE))
    }, timeout)
  }

  #isLate (): boolean {
    return this.#context.settings.upgradeTimeout !== Infinity && this.#owner?.exchangeOnTimeout() === true
  }

  /** Whether the client has taken nothing of what there is for it since the last look. The app may be as slow as it likes. */
  #isStalled (): boolean {
    const { socket, raw } = this
    if (raw.complete) socket.resume() // nobody needs what the client sends, but its end must be noticed
    const progress = progressOf(socket)
    const isStalled = progress === this.#progress && (socket.writableLength > 0 || socket.readableEnded)
    this.#progress = progress
    return isStalled
  }
}

/** The response that has the socket: of the request that is answered now. */
export function responseOn (socket: Socket): ServerResponse | undefined {
  return (socket as { _httpMessage?: ServerResponse | null })._httpMessage ?? undefined // Node has no public name for it
}

/** Knows how much of a large write the kernel has not taken yet. Node has no public name for it. */
interface Handle {
  readonly writeQueueSize?: number
  readonly _parent?: Handle // below TLS
}

/** Changes with whatever the client takes: with each write that is done, and while one is under way. */
function progressOf (socket: Socket): string {
  const { bytesWritten, writableLength } = socket as { bytesWritten?: number, writableLength: number } // a stream in this process does not count them
  const { _handle: handle } = socket as { _handle?: Handle | null }
  if (bytesWritten === undefined) return `${writableLength}`
  return `${bytesWritten - writableLength} ${(handle?._parent ?? handle)?.writeQueueSize}`
}

/** Whether another listener answers the request, reads from the socket, or has done away with it. */
export function isTaken (raw: IncomingMessage, socket: Socket): boolean {
  return responseOn(socket)?.req === raw || socket.listenerCount('data') > 0 || socket.destroyed || socket.writableEnded
}

export function destroyOnError (this: Socket): void {
  this.destroy()
}

// Node's own listener for this is off, and a response that waits for room would wait for ever
function socketOnDrain (this: Socket): void {
  responseOn(this)?.emit('drain')
}

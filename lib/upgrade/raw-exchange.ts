import { ServerResponse, STATUS_CODES, type IncomingMessage, type Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Lifecycle } from '../app/lifecycle.js'
import { debug } from '../base/debug.js'

/** What Node passes to a listener for upgrades. */
export interface UpgradeRequest {
  readonly raw: IncomingMessage
  readonly socket: Socket
  readonly head: Buffer
}

/** How many entries `rawHeaders` has at most, unless the server says otherwise. */
export const MAX_RAW_HEADERS = 2000

/** Since Node 26 the body of an upgrade request is read as any body is. Before, it came with what follows the head. */
export const READS_BODIES = Number.parseInt(process.versions.node) >= 26

/** The socket of an upgrade request. While Node 26 still reads the body, the listener gets another stream, of what follows the body. */
export function socketBehind (stream: Socket, { complete, socket }: IncomingMessage): Socket {
  return READS_BODIES && !complete ? socket : stream
}

/** The server that accepted the connection. For `localhost` Fastify opens a second server, which passes its upgrades on to the first. */
export function serverOf (socket: Socket): Server | undefined {
  return (socket as { server?: Server }).server // Node sets it when the connection is made
}

/** Whether Node may have dropped headers, as it does past a limit. Those may have said how long the body is. */
export function isTruncated ({ rawHeaders }: IncomingMessage, socket: Socket): boolean {
  const maxHeadersCount = serverOf(socket)?.maxHeadersCount // an HTTP/2 server that allows HTTP/1 has none
  const limit = typeof maxHeadersCount === 'number' ? maxHeadersCount * 2 : MAX_RAW_HEADERS
  return limit > 0 && rawHeaders.length >= limit
}

/**
 * Whether a request with an Upgrade header asks for a WebSocket and for nothing else. If not, a server may ignore the header
 * (RFC 9110, section 7.8), and in HTTP/1.0 it has to. A request with a body is excluded, because `ws` would read the body as frames.
 */
export function asksForWebSocket ({ method, httpVersion, headers }: IncomingMessage): boolean {
  return method === 'GET' && httpVersion === '1.1' && headers.upgrade?.toLowerCase() === 'websocket' &&
    headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0
}

/** Decides how an exchange ends while it is watched. */
export interface ExchangeOwner {
  /** No answer was begun within `upgradeTimeout`. Returns whether to destroy the socket. */
  exchangeOnTimeout (): boolean
  /** A whole HTTP answer went out, after which the connection ends. */
  exchangeOnAnswer (): void
  /** The socket has closed. @param wasAnswered whether a whole HTTP answer went out before */
  exchangeOnClose (wasAnswered: boolean): void
  /** The app is closing: answers 503 unless an answer was begun. */
  refuse (): void
}

/** The owner of an exchange about which nothing is left to decide. */
const NO_OWNER: ExchangeOwner = {
  exchangeOnTimeout: () => true,
  exchangeOnAnswer () {},
  exchangeOnClose () {},
  refuse () {}
}

const NO_LISTENER = () => {}

/** How long a client may take to close its side after an HTTP answer, in ms. */
const LINGER = 1_000

/**
 * How often to check, in ms, whether the client takes the answer: every `upgradeTimeout`, but not more often than the first, and
 * as often as the second if `upgradeTimeout` is Infinity.
 */
const MIN_PATIENCE = 1_000
const DEFAULT_PATIENCE = 10_000

/** What an exchange needs of the app. */
export interface ExchangeContext {
  readonly settings: Readonly<{ upgradeTimeout: number }>
  readonly lifecycle: Lifecycle
}

/**
 * An upgrade request and its socket, which Node no longer looks after. While the exchange is watched, the socket has a listener
 * for errors and a deadline, so that it ends whatever the client does: an HTTP answer has to begin in time, the client has to
 * take it, and then the connection ends.
 */
export class RawExchange {
  readonly raw: IncomingMessage
  readonly socket: Socket
  readonly head: Buffer
  readonly response: ServerResponse
  /** Whether the server has other upgrade listeners too. */
  readonly isShared: boolean
  readonly #context: ExchangeContext
  // 'answered': a whole HTTP answer went out, and the client may still close its side
  #state: 'unwatched' | 'watched' | 'answered' = 'unwatched'
  #owner = NO_OWNER
  #socketOnClose = NO_LISTENER
  #timer: NodeJS.Timeout | undefined
  #progress = '' // at the last check

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
    this.#state = 'watched'
    this.#owner = owner
    this.#socketOnClose = () => {
      const wasAnswered = this.#state === 'answered'
      this.unwatch()
      owner.exchangeOnClose(wasAnswered)
    }
    socket.on('error', destroyOnError)
    socket.on('drain', socketOnDrain)
    socket.once('close', this.#socketOnClose)
    response.once('finish', () => this.#responseOnFinish())
    this.#checkIn(this.#patience)
    this.#context.lifecycle.trackUpgrade(this)
  }

  /** Takes everything off the socket, because something else owns it from here on. */
  unwatch (): void {
    if (this.#state === 'unwatched') return
    clearTimeout(this.#timer)
    this.socket.off('error', destroyOnError)
    this.socket.off('drain', socketOnDrain)
    this.socket.off('close', this.#socketOnClose)
    this.#state = 'unwatched'
    this.#owner = NO_OWNER
    this.#context.lifecycle.untrackUpgrade(this)
  }

  /** The socket is no longer for an HTTP answer. */
  detachHttp (): void {
    this.response.detachSocket(this.socket)
    this.unwatch()
  }

  /** Leaves the request to the other listeners of the server, which may take it until `upgradeTimeout` has passed. */
  leaveToOthers (): void {
    this.response.detachSocket(this.socket)
    const isAbandoned = () => {
      if (isTaken(this.raw, this.socket)) this.unwatch()
      return this.#state === 'watched'
    }
    this.watch({ ...NO_OWNER, exchangeOnTimeout: isAbandoned, refuse: () => { if (isAbandoned()) this.destroy() } })
  }

  /** Ends the connection, with a status if one is given, after the answers to the requests before this one. */
  endInTurn (status?: number): void {
    if (debug.enabled) debug('%s %j: ends with %s', this.raw.method, this.raw.url, status ?? 'the answer before it')
    this.watch(NO_OWNER)
    this.#endAfter(responseOn(this.socket), status)
  }

  /** The app is closing. */
  refuse (): void {
    this.#owner.refuse()
  }

  /** Answers 503 with the body that Fastify would give the error. */
  answerUnavailable ({ code, message }: { readonly code: string, readonly message: string }): void {
    const { response } = this
    const body = JSON.stringify({ statusCode: 503, code, error: STATUS_CODES[503], message })
    response.writeHead(503, { 'content-type': 'application/json; charset=utf-8', 'content-length': Buffer.byteLength(body) })
    response.end(body)
  }

  destroy (): void {
    this.socket.destroy()
  }

  // Node's own 'finish' listener runs before ours, and by then it has given the socket to the next answer
  #endAfter (earlier: ServerResponse | undefined, status: number | undefined): void {
    const { socket, response } = this
    if (socket.destroyed) return
    if (earlier !== undefined) {
      earlier.once('finish', () => this.#endAfter(responseOn(socket), status))
    } else if (status === undefined) {
      this.#linger()
    } else {
      response.assignSocket(socket)
      response.writeHead(status, { connection: 'close' }).end()
    }
  }

  #responseOnFinish (): void {
    if (this.#state === 'unwatched' || this.socket.destroyed) return // an answer that a destroyed socket dropped counts as finished
    this.#state = 'answered'
    this.#owner.exchangeOnAnswer()
    this.#linger()
  }

  // If the client has sent more than its request, destroying the socket at once would reset the connection, and the client would lose the answer
  #linger (): void {
    const { socket, raw } = this
    socket.end()
    if (raw.complete === false) raw.resume()
    socket.resume()
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => socket.destroy(), LINGER)
  }

  get #patience (): number {
    const { upgradeTimeout } = this.#context.settings
    return upgradeTimeout === Infinity ? DEFAULT_PATIENCE : upgradeTimeout
  }

  #checkIn (delay: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      const hasBegun = responseOn(this.socket)?.headersSent === true
      if (hasBegun ? this.#isStalled() : this.#isLate()) this.#timeOut()
      else if (this.#state !== 'unwatched') this.#checkIn(Math.max(this.#patience, MIN_PATIENCE))
    }, delay)
  }

  #timeOut (): void {
    if (debug.enabled) debug('%s %j: timed out', this.raw.method, this.raw.url)
    this.socket.destroy()
  }

  #isLate (): boolean {
    return this.#context.settings.upgradeTimeout !== Infinity && this.#owner.exchangeOnTimeout()
  }

  /** Whether the client has taken nothing of what is waiting for it since the last check. The app may be as slow as it likes. */
  #isStalled (): boolean {
    const { socket, raw } = this
    if (raw.complete) socket.resume() // nobody needs what the client sends, but its end must be noticed
    const progress = progressOf(socket)
    const isStalled = progress === this.#progress && (socket.writableLength > 0 || socket.readableEnded)
    this.#progress = progress
    return isStalled
  }
}

/** The response that has the socket, which is the one to the request that is answered now. */
export function responseOn (socket: Socket): ServerResponse | undefined {
  return (socket as { _httpMessage?: ServerResponse | null })._httpMessage ?? undefined // Node has no public name for it
}

/** A handle of Node, which knows how much of a large write the kernel has not taken yet. Node has no public name for that. */
interface Handle {
  readonly writeQueueSize?: number
  readonly _parent?: Handle // of TLS: the handle of the TCP connection
}

/** A text that changes whenever the client takes something: with each finished write, and within one. */
function progressOf (socket: Socket): string {
  const { bytesWritten, writableLength } = socket as { bytesWritten?: number, writableLength: number } // a stream that is no net.Socket does not count them
  const { _handle: handle } = socket as { _handle?: Handle | null }
  if (bytesWritten === undefined) return `${writableLength}`
  return `${bytesWritten - writableLength} ${(handle?._parent ?? handle)?.writeQueueSize}`
}

/** Whether another listener answers the request, reads from the socket, or has ended it. */
export function isTaken (raw: IncomingMessage, socket: Socket): boolean {
  return responseOn(socket)?.req === raw || socket.listenerCount('data') > 0 || socket.destroyed || socket.writableEnded
}

export function destroyOnError (this: Socket): void {
  this.destroy()
}

// Node has removed its own listener, so a response that waits for 'drain' would wait for ever
function socketOnDrain (this: Socket): void {
  responseOn(this)?.emit('drain')
}

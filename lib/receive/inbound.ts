import type { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'
import { feedFrames } from './frame-feed.js'
import { unmask, type Rest } from './unmask.js'

/** The connection for which bytes come in. */
export interface InboundOwner {
  readonly queue: { readOnStart (chunk: Buffer): void }
  /** The peer has ended its side of the TCP connection. */
  transportOnEnd (): void
  /** Reading goes on after a pause. */
  transportOnResume (): void
}

/**
 * The one place where the bytes of a connection come in: takes the masks off each read and leaves it to `ws`, which parses it and
 * emits the messages.
 */
export class Inbound {
  readonly #owner: InboundOwner
  readonly #transport: Duplex
  readonly #wsOnData: unknown // the listener with which ws reads the transport
  #rest: Rest = 0 // what the last read has left of its last frame

  /**
   * Must be called in the turn of the event loop in which `ws` took the transport.
   * @param isReadLater `ws` does not emit a message at once, as under compression
   */
  constructor (owner: InboundOwner, socket: WebSocket, transport: Duplex, isReadLater: boolean) {
    this.#owner = owner
    this.#transport = transport
    ;(transport as Linked)[kInbound] = this
    this.#wsOnData = transport.listeners('data').at(-1) // ws has just added it
    const isFed = isReadLater && feedFrames(socket, transport)
    transport.prependListener('data', isFed ? fedTransportOnData : transportOnData) // before ws, so the masks are off when it parses
    transport.prependListener('end', transportOnEnd) // before ws, which ends our side then
  }

  /** Whether the transport counts its bytes. The one of `injectWS` does not, so nothing tells whether its peer is alive. */
  get isCounted (): boolean {
    return 'bytesRead' in this.#transport
  }

  /** Bytes that came from the peer. */
  get bytesRead (): number {
    return (this.#transport as { bytesRead?: number }).bytesRead ?? 0
  }

  /** `ws` takes its listener off the transport when it has read a close frame, before it answers that. */
  get isRead (): boolean {
    return this.#wsOnData === undefined || this.#transport.listeners('data').some((listener) => listener === this.#wsOnData)
  }

  /** What broke the transport, or `undefined`. */
  get error (): Error | undefined {
    const { errored } = this.#transport
    return errored === null || isCanceled(errored) ? undefined : errored
  }

  /** From here on the owner hears when reading goes on after a pause. */
  reportResumes (): void {
    this.#transport.on('resume', transportOnResume)
  }

  // Not private, because the listeners below are shared by all connections

  /** @internal */
  read (chunk: Buffer): void {
    this.#owner.queue.readOnStart(chunk)
    this.#rest = unmask(chunk, this.#rest)
  }

  /** @internal */
  get owner (): InboundOwner {
    return this.#owner
  }
}

const kInbound = Symbol('fastify-websocket-async.inbound')

interface Linked extends Duplex {
  [kInbound]: Inbound
}

// All connections share these listeners: closures of its own would be a quarter of what an idle connection takes

function transportOnData (this: Duplex, chunk: Buffer): void {
  (this as Linked)[kInbound].read(chunk)
}

function fedTransportOnData (this: Duplex, chunk: Buffer): void {
  (this as Linked)[kInbound].owner.queue.readOnStart(chunk)
}

function transportOnEnd (this: Duplex): void {
  (this as Linked)[kInbound].owner.transportOnEnd()
}

function transportOnResume (this: Duplex): void {
  (this as Linked)[kInbound].owner.transportOnResume()
}

/** In newer versions of Node.js a write that is under way when we terminate the connection ourselves fails with this code. */
function isCanceled (error: Error): boolean {
  try {
    return (error as NodeJS.ErrnoException).code === 'ECANCELED'
  } catch {
    return false // the error is not ours, and reading it may throw
  }
}

import type { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'
import { feedFrames } from './frame-feed.js'
import { unmask, type Rest } from './unmask.js'

/** The connection that reads the transport. */
interface Owner {
  readonly _inbound: Inbound
}

/** The messages of the connection that wait. */
interface Queue {
  readonly length: number
  readOnStart (chunk: Buffer): void
}

/**
 * The one place where the bytes of a connection come in: takes the masks off each read and leaves it to `ws`, which parses it and
 * emits the messages.
 */
export class Inbound {
  readonly transport: Duplex
  readonly #queue: Queue
  /** The listener with which `ws` reads. `ws` takes it off when it has read a close frame, before it answers, so its absence shows who closed. */
  readonly wsOnData: unknown
  #rest: Rest = 0 // what the last read has left of its last frame

  /**
   * Must be called in the turn of the event loop in which `ws` took the transport.
   * @param isReadLater `ws` does not emit a message at once, as under compression
   */
  constructor (owner: Owner, queue: Queue, socket: WebSocket, transport: Duplex, isReadLater: boolean) {
    this.transport = transport
    this.#queue = queue
    ;(transport as Owned)[kOwner] = owner
    this.wsOnData = transport.listeners('data').at(-1) // ws has just added it
    const isFed = isReadLater && feedFrames(socket, transport)
    transport.prependListener('data', isFed ? fedTransportOnData : transportOnData) // before ws, so the masks are off when it parses
  }

  /** Whether the transport counts its bytes. The one of `injectWS` does not, so nothing tells whether its peer is alive. */
  get isCounted (): boolean {
    return 'bytesRead' in this.transport
  }

  /** Bytes that came from the peer. */
  get bytesRead (): number {
    return (this.transport as { bytesRead?: number }).bytesRead ?? 0
  }

  /** @internal Called for each read. */
  read (chunk: Buffer): void {
    this.readOnStart(chunk)
    this.#rest = unmask(chunk, this.#rest)
  }

  /** @internal */
  readOnStart (chunk: Buffer): void {
    if (this.#queue.length > 0) this.#queue.readOnStart(chunk)
  }
}

/** On a transport: the connection that reads it. All connections share their listeners, because listeners of its own would add a quarter to the memory of an idle one. */
export const kOwner = Symbol('fastify-websocket-async.owner')

interface Owned extends Duplex {
  [kOwner]: Owner
}

function transportOnData (this: Duplex, chunk: Buffer): void {
  (this as Owned)[kOwner]._inbound.read(chunk)
}

function fedTransportOnData (this: Duplex, chunk: Buffer): void {
  (this as Owned)[kOwner]._inbound.readOnStart(chunk)
}

import type { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'
import { feedFrames, receiverOf } from './frame-feed.js'
import { FrameReader, type FrameLimits, type FrameSink } from './frame-reader.js'
import { standInMaker, wsListener, type Listener } from './stand-in.js'

/** The connection that reads the transport. */
interface Owner {
  readonly _inbound: Inbound
  readonly _queue: Queue
  readonly socket: WebSocket
  /** Whether messages go to receives. */
  readonly isAwaited: boolean
  /** Gets a message, which is a part of a chunk. */
  messageOnRead (chunk: Buffer, start: number, end: number, isBinary: boolean, isAscii: boolean): void
  /** All messages of a chunk were given. */
  chunkOnRead (): void
  transportOnEnd (): void
}

/** The messages of the connection that wait. */
interface Queue {
  readonly length: number
  /** Whether a receive waits for a message. */
  readonly isWaitedFor: boolean
  readOnStart (chunk: Buffer): void
}

/**
 * The one place where the bytes of a connection come in. It stands in front of `ws`. Messages that it can read go straight to the
 * connection, and everything else goes on to `ws`.
 */
export class Inbound implements FrameSink {
  readonly transport: Duplex
  readonly #owner: Owner
  readonly #wsOnData: Listener | undefined
  readonly #reader: FrameReader | undefined // undefined where ws reads by itself
  #isAscii = false // whether the message that ws is about to emit is known to be ASCII
  #hasEmitted = false
  #held: Buffer | undefined // bytes that wait until the handler has had its turn
  #isReading = false // whether a read is under way

  /**
   * Must be called in the turn of the event loop in which `ws` took the transport.
   * @param limits `null`: `ws` emits messages in a later turn of the event loop than the one that read them, as under compression
   */
  constructor (owner: Owner, transport: Duplex, limits: FrameLimits | null) {
    this.transport = transport
    this.#owner = owner
    ;(transport as Owned)[kOwner] = owner
    this.#wsOnData = wsListener(transport, 'data')
    if (limits === null) feedFrames(owner.socket, transport)
    if (limits === null || isClient(owner.socket) || this.#wsOnData === undefined) {
      transport.prependListener('data', transportOnUnreadData)
    } else {
      this.#reader = new FrameReader(this, limits)
      readInsteadOfWs(transport, 'data')
      finishBeforeWs(transport, 'close')
    }
    endBeforeWs(transport, 'end')
  }

  /** Whether the transport counts its bytes. The one of `injectWS` does not, so nothing tells whether its peer is alive. */
  get isCounted (): boolean {
    return 'bytesRead' in this.transport
  }

  /** Bytes that came from the peer. */
  get bytesRead (): number {
    return (this.transport as { bytesRead?: number }).bytesRead ?? 0
  }

  /** Whether `ws` reads no more: after a close frame, and after a violation of the protocol, it takes its listener off before it answers. */
  get hasConcluded (): boolean {
    return this.#wsOnData !== undefined && !this.transport.listeners('data').includes(this.#wsOnData)
  }

  /** @internal */
  get isAwaited (): boolean {
    return this.#owner.isAwaited
  }

  /** @internal */
  get isBehind (): boolean {
    return this.#owner.isAwaited && !this.#owner._queue.isWaitedFor
  }

  /** @internal */
  take (chunk: Buffer, start: number, end: number, isBinary: boolean, isAscii: boolean): void {
    this.#owner.messageOnRead(chunk, start, end, isBinary, isAscii)
  }

  /** @internal */
  pass (bytes: Buffer, isAscii: boolean): boolean {
    this.#isAscii = isAscii
    this.#hasEmitted = false
    this.#wsOnData?.call(this.transport, bytes)
    this.#isAscii = false
    return this.#hasEmitted
  }

  /** `ws` emits a message. Returns whether that is known to be ASCII. */
  wsOnMessage (): boolean {
    this.#hasEmitted = true
    return this.#isAscii
  }

  /** @internal Called for each read. */
  read (chunk: Buffer): void {
    this.readOnStart(chunk)
    if (this.#held !== undefined) this.#held = Buffer.concat([this.#held, chunk]) // somebody has resumed the transport meanwhile
    else if (this.#isReading) this.#hold(chunk) // a listener has made the transport read on, and the rest of the read under way comes first
    else this.#readFrames(chunk, false)
  }

  /** @internal Called for each read where there is no reader. */
  readOnStart (chunk: Buffer): void {
    const { _queue: queue } = this.#owner
    if (queue.length > 0) queue.readOnStart(chunk)
  }

  #readFrames (chunk: Buffer, hasWaited: boolean): void {
    this.#isReading = true
    try {
      const end = (this.#reader as FrameReader).read(chunk, hasWaited) // without a reader nobody calls this
      if (end < chunk.length) this.#hold(chunk.subarray(end))
    } finally { // a listener may throw
      this.#isReading = false
    }
    this.#owner.chunkOnRead()
  }

  /** Stops reading for a turn of the event loop, so that the handler can answer what it was given before `ws` ends the connection. */
  #hold (bytes: Buffer): void {
    this.#held = this.#held === undefined ? bytes : Buffer.concat([bytes, this.#held])
    this.transport.pause()
    setImmediate(goOn, this)
  }

  /** @internal */
  goOn (): void {
    const held = this.#held
    this.#held = undefined
    if (held === undefined || this.hasConcluded) return // it was handed over meanwhile, or ws has ended the connection for something else
    this.#readFrames(held, true)
    if (this.#held === undefined) setImmediate(resume, this) // a turn later, because a FIN that is read now would cut off the answers to what was just read
  }

  /** @internal */
  resume (): void {
    if (this.#held === undefined && !this.#owner.socket.isPaused) this.transport.resume()
  }

  /** @internal The transport has ended, so nothing waits any longer: reads what was held, and what a paused transport still has. */
  finish (): void {
    if (this.#reader === undefined || this.hasConcluded) return
    const { readableLength } = this.transport // without a size, a stream that flows would give one chunk only
    const rest: Buffer | null = readableLength > 0 ? this.transport.read(readableLength) : null
    let held = Buffer.concat([this.#held ?? NO_BYTES, rest ?? NO_BYTES])
    this.#held = undefined
    while (held.length > 0) held = held.subarray(this.#reader.read(held, true))
  }

  /** @internal */
  transportOnEnd (wsOnEnd: Listener): void {
    if (this.hasConcluded) {
      // Of what ws does at the end only this is still to do. It would also end its receiver a second time
      if (!this.transport.writableEnded) this.transport.end()
    } else if (this.#held !== undefined) {
      this.finish()
      setImmediate(() => this.transportOnEnd(wsOnEnd)) // ws answers a violation some ticks later, and does not answer it once it has heard of the end
    } else {
      this.#owner.transportOnEnd()
      wsOnEnd.call(this.transport)
    }
  }

  /** @internal */
  transportOnClose (): void {
    this.finish()
    if (this.hasConcluded) ignoreEnd(this.#owner.socket)
  }
}

const NO_BYTES = Buffer.alloc(0)

/**
 * The key under which a transport has the connection that reads it. Connections share their listeners, because listeners of its own
 * would add a quarter to the memory of an idle one.
 */
export const kOwner = Symbol('fastify-websocket-async.owner')

interface Owned extends Duplex {
  [kOwner]: Owner
}

function inboundOf (transport: Duplex): Inbound {
  return (transport as Owned)[kOwner]._inbound // only an inbound adds the listeners below
}

function transportOnUnreadData (this: Duplex, chunk: Buffer): void {
  inboundOf(this).readOnStart(chunk)
}

const readInsteadOfWs = standInMaker(() => function transportOnData (this: Duplex, chunk: Buffer) {
  inboundOf(this).read(chunk)
})

const finishBeforeWs = standInMaker((wsOnClose) => function transportOnClose (this: Duplex, ...args: unknown[]) {
  inboundOf(this).transportOnClose()
  wsOnClose.apply(this, args)
})

const endBeforeWs = standInMaker((wsOnEnd) => function transportOnEnd (this: Duplex) {
  inboundOf(this).transportOnEnd(wsOnEnd)
})

function goOn (inbound: Inbound): void {
  inbound.goOn()
}

/**
 * Makes the receiver of `ws`, if it has ended, ignore that `ws` ends it again, because that makes an error with its stack, which nobody
 * sees. It has not ended where the application has taken the listener of `ws` off; then it must still end, or `ws` emits no 'close'.
 */
function ignoreEnd (socket: WebSocket): void {
  const receiver = receiverOf(socket)
  if (receiver?.writableEnded === true || receiver?.errored instanceof Error) receiver.end = endNothing
}

function endNothing<T> (this: T): T {
  return this
}

function resume (inbound: Inbound): void {
  inbound.resume()
}

/** Whether it is the socket of a client, which needs no reader: what a server sends is not masked. */
function isClient ({ url }: WebSocket): boolean {
  return url !== undefined
}

/** An amount of messages and of bytes. */
export interface Amount {
  readonly messages: number
  readonly bytes: number
}

/** Bounds of what waits to be received. Bytes are bytes of memory: the payloads, and what each message takes beside its payload. */
export interface ReceiveLimits {
  /** Above either amount reading is paused; at a quarter of both it is resumed. */
  readonly highWater: Amount
  /** The mark that holds while the queue reads ahead, to see whether the peer is alive. */
  readonly probeHighWater: Amount
  /** At either amount no message is taken any more. No honest client reaches it. */
  readonly hardCap: Amount
}

/** What Node.js reads from a socket at once, in bytes. */
export const READ_SIZE = 64 * 1024

/** One read holds at most so many frames: a masked frame has six bytes at least. */
export const FRAMES_IN_A_READ = Math.ceil(READ_SIZE / 6)

/** What a message takes beside its payload, in bytes: the message, its place in the queue, and a view of the payload if there is one. */
export const MESSAGE_COST = 200

/**
 * After a pause what was read already still comes: one read, and the message that it completes. Reading ahead admits one read
 * more, unless the first was full of tiny messages, each of which takes much more memory than its payload. Where `ws` emits messages
 * later, as with compression, at most one message comes after a pause.
 * @param highWater above it reading is paused
 * @param maxPayload the largest message, in bytes
 */
export function receiveLimits (highWater: Amount, maxPayload: number): ReceiveLimits {
  const add = (reads: number): Amount => ({
    messages: highWater.messages + reads * FRAMES_IN_A_READ,
    bytes: highWater.bytes + reads * (READ_SIZE + maxPayload) + (reads - 1) * FRAMES_IN_A_READ * MESSAGE_COST
  })
  return { highWater, probeHighWater: add(1), hardCap: add(2) }
}

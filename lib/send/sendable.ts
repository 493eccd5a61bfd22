import { Buffer } from 'node:buffer'
import { types } from 'node:util'
import { invalidArgument } from '../base/validation.js'

/** What `sendAsync` takes: a string becomes a text message, bytes become a binary message. */
export type Sendable = string | ArrayBuffer | ArrayBufferView

/**
 * The same bytes, not copied, as the transport takes them.
 * @throws FST_WSA_INVALID_ARGUMENT
 */
export function toSendable (data: Sendable): string | Buffer {
  if (typeof data === 'string' || Buffer.isBuffer(data)) return data
  try {
    if (ArrayBuffer.isView(data)) return Buffer.from(data.buffer, data.byteOffset, data.byteLength)
    if (types.isAnyArrayBuffer(data)) return Buffer.from(data)
  } catch {
    throw invalidArgument('data', 'bytes that were not transferred elsewhere', data)
  }
  throw invalidArgument('data', 'a string, a Buffer, an ArrayBufferView or an ArrayBuffer', data)
}

import { channel } from 'node:diagnostics_channel'

/** Channels of `node:diagnostics_channel`. A channel without subscribers costs one comparison. */
export const diagnostics = {
  /** A connection was opened: `{ connection }`. */
  open: channel('fastify-websocket-async:open'),
  /** A connection has ended: `{ connection, closeInfo }`. */
  close: channel('fastify-websocket-async:close'),
  /** An upgrade has ended without a connection, although the handler asked for one, or because we ended it: `{ request, error }`. */
  refused: channel('fastify-websocket-async:refused'),
  /** A message was dropped: `{ connection, direction: 'in' | 'out', bytes, reason }`. */
  dropped: channel('fastify-websocket-async:dropped')
}

import { debuglog } from 'node:util'

/**
 * Writes a line to stderr where the environment has `NODE_DEBUG=fastify-websocket-async`. Each call is guarded by `debug.enabled`,
 * so that otherwise nothing is put together for it.
 */
export const debug = debuglog('fastify-websocket-async')

/** What a debug line says of an error: its code, else its name. The error may not be ours, and then reading it may throw. */
export function codeOf (error: unknown): string {
  try {
    const { code, name } = error as { code?: unknown, name?: unknown }
    return String(code ?? name)
  } catch {
    return 'an error that cannot be read'
  }
}

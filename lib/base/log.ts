import type { FastifyBaseLogger } from 'fastify'

/** A log line with an error that is not ours, such as what a handler has thrown. */
interface Line {
  readonly err: unknown
  readonly [name: string]: unknown
}

/** How much of each string is kept where an error could not be logged as it is, in characters. */
const MAX_LENGTH = 4096

/**
 * Logs an error that is not ours, and never throws. Reading such an error may throw, as for a getter or a revoked proxy, and
 * pino's serialiser writes to it, which fails on a frozen one. The line then says so, and has what could be read.
 */
export function logForeign (log: FastifyBaseLogger, level: 'debug' | 'info' | 'warn' | 'error', line: Line, message?: string): void {
  const inPlain = `${message ?? 'websocket handler failed'}, with an error that cannot be serialised`
  if (succeeds(() => log[level](line, message))) return
  if (succeeds(() => log[level]({ ...line, err: readable(line.err) }, inPlain))) return
  succeeds(() => log[level](inPlain))
}

function succeeds (act: () => void): boolean {
  try {
    act()
    return true
  } catch {
    return false
  }
}

/** In the shape that the serialiser expects of an error, without a prototype that it would name. */
function readable (error: unknown): Record<string, string> {
  const read: Record<string, string> = Object.create(null)
  for (const name of ['name', 'message', 'code', 'stack']) {
    succeeds(() => {
      const value = (error as Record<string, unknown>)[name]
      if (typeof value === 'string') read[name] = value.slice(0, MAX_LENGTH)
    })
  }
  return read
}

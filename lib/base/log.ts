import type { FastifyBaseLogger } from 'fastify'

/** A log line with an error that is not ours, such as one that a handler threw. */
interface Line {
  readonly err: unknown
  readonly [name: string]: unknown
}

/** How many characters of each string are logged of an error that could not be logged as it is. */
const MAX_LENGTH = 4096

/**
 * Logs an error that is not ours, and never throws. Such an error may throw when it is read (it may have a getter, or be a revoked
 * proxy), and pino's serialiser writes to it, which fails if it is frozen. Then the line says so, and holds what could be read.
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

/** The readable strings of an error, in an object without a prototype, because the serialiser would log the prototype's name. */
function readable (error: unknown): Record<string, string> {
  const read: Record<string, string> = Object.create(null)
  for (const name of ['name', 'message', 'code', 'stack']) {
    const value = readForeign(error, name)
    if (typeof value === 'string') read[name] = value.slice(0, MAX_LENGTH)
  }
  return read
}

/** A property of an error that is not ours, or `undefined` if reading it throws. */
export function readForeign (error: unknown, name: string): unknown {
  try {
    return (error as Record<string, unknown> | null | undefined)?.[name]
  } catch {
    return undefined
  }
}

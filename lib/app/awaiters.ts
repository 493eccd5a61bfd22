/** So many functions may stand between one who awaits and what is awaited. */
const MAX_FRAMES = 200

const PREFIX = 'fastify-websocket-async '

/**
 * Tells which of several owners of a promise awaits the async function that asks. V8 knows it: its stack traces name also the
 * functions that await the one that runs. So each promise gets a function with a name of its own that awaits it. Where an engine
 * has no such traces, nobody is found.
 */
export class Awaiters<T> {
  readonly #owners = new Map<string, T>()
  readonly #known = new Set<T>()

  add (owner: T, promise: Promise<unknown>): void {
    if (this.#known.has(owner)) return // V8 follows no promise that several functions await
    this.#known.add(owner)
    const name = PREFIX + this.#owners.size
    this.#owners.set(name, owner)
    const functions = { async [name] () { await promise } }
    functions[name]?.()
  }

  /** The owner whose promise waits for the async function that calls this. */
  ofCaller (): T | undefined {
    for (const name of namesOnStack()) {
      const owner = this.#owners.get(name ?? '')
      if (owner !== undefined) return owner
    }
    return undefined
  }
}

function namesOnStack (): (string | null)[] {
  const { stackTraceLimit, prepareStackTrace } = Error
  try {
    Error.stackTraceLimit = MAX_FRAMES
    Error.prepareStackTrace = (_error, sites) => sites.map((site) => site.getFunctionName())
    const names: unknown = new Error().stack
    return Array.isArray(names) ? names : []
  } catch {
    return [] // `Error` is frozen
  } finally {
    Object.assign(Error, { stackTraceLimit, prepareStackTrace })
  }
}

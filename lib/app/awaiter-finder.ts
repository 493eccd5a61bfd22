/** How many functions may stand between the one that awaits and the one that is awaited. */
const MAX_FRAMES = 200

const PREFIX = 'fastify-websocket-async '

/**
 * Finds out which of several promises is waiting for the async function that is running. V8 knows this: a stack trace goes on
 * with the async functions that await the running one. So each promise is awaited by a function with a unique name, and the
 * stack trace of the running function is searched for these names. On an engine without such traces nothing is found.
 */
export class AwaiterFinder<Owner> {
  readonly #owners = new Map<string, Owner>() // by the name of the function that awaits its promise
  readonly #known = new Set<Owner>()

  /** Makes the owner of the promise findable. Repeating it changes nothing. */
  add (owner: Owner, promise: Promise<unknown>): void {
    if (this.#known.has(owner)) return // V8 ends the trace at a promise that several functions await
    this.#known.add(owner)
    const name = PREFIX + this.#owners.size
    this.#owners.set(name, owner)
    const functions = { async [name] () { await promise } }
    functions[name]?.()
  }

  /** The owner of the promise that is waiting for the async function that calls this. */
  findForCaller (): Owner | undefined {
    for (const name of functionNamesOnStack()) {
      const owner = this.#owners.get(name ?? '')
      if (owner !== undefined) return owner
    }
    return undefined
  }
}

function functionNamesOnStack (): (string | null)[] {
  const { stackTraceLimit, prepareStackTrace } = Error
  try {
    Error.stackTraceLimit = MAX_FRAMES
    Error.prepareStackTrace = (_error, sites) => sites.map((site) => site.getFunctionName())
    const names: unknown = new Error().stack
    return Array.isArray(names) ? names : []
  } catch {
    return [] // `Error` is frozen
  } finally {
    // Not by assignment, which would throw if `Error` is frozen
    Reflect.set(Error, 'stackTraceLimit', stackTraceLimit)
    Reflect.set(Error, 'prepareStackTrace', prepareStackTrace)
  }
}

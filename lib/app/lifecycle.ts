import type { AsyncWebSocket } from '../connection/async-web-socket.js'

/** An upgrade request that is neither a connection yet nor fully answered. */
export interface Refusable {
  /** Answers 503, unless an answer has begun. */
  refuse (): void
  destroy (): void
}

/** A handler that has returned a promise. */
export interface RunningHandler {
  /** Settles when the handler has ended. Never rejects. */
  readonly lifetime: Promise<void>
  /** Called when the app closes without waiting for this handler, because the handler awaits `app.close()`. */
  excuse (): void
}

/**
 * Whether the app is closing, and what is still alive in it: upgrades, handlers and connections. Each is tracked from its start
 * to its end, so that the shutdown can wait until all have ended.
 */
export class Lifecycle {
  // Others only read these; the methods below change them
  readonly upgrades = new Set<Refusable>()
  readonly handlers = new Set<RunningHandler>()
  /** In the order in which they were opened. */
  readonly connections = new Set<AsyncWebSocket>()
  isClosing = false
  #resolveClosing!: () => void // set when `closing` is made
  #onAllEnded: (() => void) | undefined
  /** Resolves when the app begins to close. */
  readonly closing = new Promise<void>((resolve) => { this.#resolveClosing = resolve })

  beginClosing (): void {
    this.isClosing = true
    this.#resolveClosing()
  }

  trackUpgrade (upgrade: Refusable): void {
    this.upgrades.add(upgrade)
  }

  untrackUpgrade (upgrade: Refusable): void {
    this.upgrades.delete(upgrade)
    this.#checkEnd()
  }

  trackHandler (handler: RunningHandler): void {
    this.handlers.add(handler)
  }

  untrackHandler (handler: RunningHandler): void {
    this.handlers.delete(handler)
    this.#checkEnd()
  }

  trackConnection (connection: AsyncWebSocket): void {
    this.connections.add(connection)
  }

  untrackConnection (connection: AsyncWebSocket): void {
    this.connections.delete(connection)
    this.#checkEnd()
  }

  /** Resolves to `true` as soon as nothing is alive, or to `false` after `timeout` ms. One call at a time. */
  endsWithin (timeout: number): Promise<boolean> {
    return new Promise((resolve) => {
      const finish = (hasEnded: boolean) => {
        this.#onAllEnded = undefined
        clearTimeout(timer)
        resolve(hasEnded)
      }
      const timer = setTimeout(finish, timeout, false)
      this.#onAllEnded = () => finish(true)
      this.#checkEnd()
    })
  }

  #checkEnd (): void {
    if (this.upgrades.size + this.handlers.size + this.connections.size === 0) this.#onAllEnded?.()
  }
}

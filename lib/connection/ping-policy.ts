import { assertInterval, assertOptions, invalidArgument, type Names } from '../base/validation.js'

export interface PingPolicyOptions {
  /** Time between two pings in ms. @default 5000 */
  readonly interval?: number | undefined
  /** The text of the ping. @default '%ping%' */
  readonly dataMessage?: string | undefined
}

const OPTIONS: Names<PingPolicyOptions> = { interval: true, dataMessage: true }

/** What the policy needs of its connection. */
interface PolicyOwner {
  readonly isClosed: boolean
  sendAsync (text: string): Promise<boolean>
}

/**
 * Keeps an idle connection open through proxies that count only data: it sends a text message at once and then at every interval.
 * While it runs, the same text coming back from the peer is not received as a message.
 */
export class PingPolicy {
  readonly #owner: PolicyOwner
  #timer: NodeJS.Timeout | undefined
  #echo = Buffer.alloc(0)

  /** @internal */
  constructor (owner: PolicyOwner) {
    this.#owner = owner
  }

  /** Whether it runs: from `start()` until `stop()` or the end of the connection. */
  get isActive (): boolean {
    return this.#timer !== undefined
  }

  /**
   * Starts pinging. If it runs already, the new interval and text replace the old ones. It ends with `stop()` or with the
   * connection, and on a closed connection it does nothing. No ping is sent while the last one is unsent.
   * @throws FST_WSA_INVALID_ARGUMENT
   */
  start (options: PingPolicyOptions = {}): void {
    assertOptions(options, OPTIONS, '{ interval: 5000 }')
    const { interval = 5_000, dataMessage = '%ping%' } = options
    assertInterval('interval', interval)
    if (typeof dataMessage !== 'string') throw invalidArgument('dataMessage', 'a string', dataMessage)
    this.stop()
    if (this.#owner.isClosed) return

    let isUnsent = false
    const ping = async () => {
      if (isUnsent) return
      isUnsent = true
      try {
        await this.#owner.sendAsync(dataMessage)
      } finally {
        isUnsent = false
      }
    }
    this.#echo = Buffer.from(dataMessage)
    this.#timer = setInterval(ping, interval)
    ping()
  }

  /** Stops pinging. From then on the text is a message like any other. */
  stop (): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** @internal */
  isEcho (bytes: Buffer, isBinary: boolean): boolean {
    return this.#timer !== undefined && !isBinary && this.#echo.equals(bytes)
  }
}

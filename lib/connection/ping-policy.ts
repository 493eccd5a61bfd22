import { assertInterval, assertOptions, invalidArgument, type Names } from '../base/validation.js'

export interface PingPolicyOptions {
  /** Time between two pings in ms. @default 5000 */
  readonly interval?: number | undefined
  /** The text of the ping. @default '%ping%' */
  readonly dataMessage?: string | undefined
}

const OPTIONS: Names<PingPolicyOptions> = { interval: true, dataMessage: true }

/** What the policy needs of its connection. */
interface PingTransport {
  readonly isClosed: boolean
  sendAsync (text: string): Promise<boolean>
}

/**
 * Keeps an idle connection open through proxies that count only data: sends a text message at once and at
 * every interval. The same text coming back is no message while the policy runs.
 */
export class PingPolicy {
  readonly #transport: PingTransport
  #timer: NodeJS.Timeout | undefined
  #echo = Buffer.alloc(0)

  /** @internal */
  constructor (transport: PingTransport) {
    this.#transport = transport
  }

  /** True from `start()` to `stop()` or to the end of the connection. */
  get isActive (): boolean {
    return this.#timer !== undefined
  }

  /**
   * Starts pinging; where it runs already, the new interval and text replace the old. It ends with `stop()` or with
   * the connection, and on a connection that is closed it does nothing.
   * @throws FST_WSA_INVALID_ARGUMENT
   */
  start (options: PingPolicyOptions = {}): void {
    assertOptions(options, OPTIONS, '{ interval: 5000 }')
    const { interval = 5_000, dataMessage = '%ping%' } = options
    assertInterval('interval', interval)
    if (typeof dataMessage !== 'string') throw invalidArgument('dataMessage', 'a string', dataMessage)
    this.stop()
    if (this.#transport.isClosed) return

    let isUnsent = false
    const ping = async () => {
      if (isUnsent) return
      isUnsent = true
      try {
        await this.#transport.sendAsync(dataMessage)
      } finally {
        isUnsent = false
      }
    }
    this.#echo = Buffer.from(dataMessage)
    this.#timer = setInterval(ping, interval)
    ping()
  }

  /** Stops pinging. An echo that comes later is a message again. */
  stop (): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** @internal */
  isEcho (bytes: Buffer, isBinary: boolean): boolean {
    return this.#timer !== undefined && !isBinary && this.#echo.equals(bytes)
  }
}

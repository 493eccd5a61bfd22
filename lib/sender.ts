import { assertCancelOptions, invalidArgument, type CancelOptions } from './arguments.js'

/** What `sendAsync` takes: a string becomes a text message, bytes become a binary message. */
export type Sendable = string | ArrayBuffer | ArrayBufferView

export interface SendOptions extends CancelOptions {
  /** Whether to compress this message, where compression was negotiated. @default true */
  readonly compress?: boolean | undefined
}

/** What the sender needs of the socket. */
interface SendTransport {
  send (data: Sendable, options: { binary: boolean, compress: boolean }, done: (error?: Error) => void): void
}

/** Hands messages to the transport in the order of the calls, and tells each caller what became of its own. */
export class Sender {
  readonly #transport: SendTransport
  readonly #stream: { readonly destroyed: boolean }
  readonly #unsettled = new Set<(isSent: boolean) => void>()
  #failed = 0
  messages = 0
  bytes = 0

  /** @param stream what the transport writes to */
  constructor (transport: SendTransport, stream: { readonly destroyed: boolean }) {
    this.#transport = transport
    this.#stream = stream
  }

  /** Messages that were accepted and have not gone out: not yet, or never. */
  get unsent (): number {
    return this.#failed + this.#unsettled.size
  }

  send (data: Sendable, { compress = true }: SendOptions): Promise<boolean> {
    this.messages++
    this.bytes += byteLength(data)
    return new Promise((resolve) => {
      this.#unsettled.add(resolve)
      this.#transport.send(data, { binary: typeof data !== 'string', compress }, (error) => {
        // The write that is under way when the connection is cut off reports no error
        const isSent = error == null && !this.#stream.destroyed
        this.#unsettled.delete(resolve)
        if (!isSent) this.#failed++
        resolve(isSent)
      })
    })
  }

  /** The connection is gone: the transport may never answer for what it holds. */
  end (): void {
    for (const resolve of this.#unsettled) resolve(false)
  }
}

function byteLength (data: Sendable): number {
  return typeof data === 'string' ? Buffer.byteLength(data) : data.byteLength
}

/** @throws FST_WSA_INVALID_ARGUMENT */
export function assertSend (data: Sendable, options: SendOptions): void {
  if (typeof data !== 'string' && !ArrayBuffer.isView(data) && !(data instanceof ArrayBuffer)) {
    throw invalidArgument('data', 'a string, a Buffer, an ArrayBufferView or an ArrayBuffer', data)
  }
  assertCancelOptions(options)
}

/** One message as it came. Its bytes are decoded only when somebody asks for a string. */
export class Message<Sender> {
  /** The payload. It may be a view of memory that other messages share: copy it if you keep it for long. */
  readonly bytes: Buffer
  /** True for a binary message, false for a text message (RFC 6455, section 5.6). */
  readonly isBinary: boolean
  /** The connection on which the message came. */
  readonly sender: Sender

  /** @internal */
  constructor (bytes: Buffer, isBinary: boolean, sender: Sender) {
    this.bytes = bytes
    this.isBinary = isBinary
    this.sender = sender
  }

  /** The size of the payload in bytes. */
  get length (): number {
    return this.bytes.length
  }

  /**
   * The payload as a string.
   * @param encoding @default 'utf8'
   */
  getString (encoding: BufferEncoding = 'utf8'): string {
    return this.bytes.toString(encoding)
  }

  /**
   * The payload parsed as JSON. Nothing is validated: `T` is what the caller says it is.
   * @throws SyntaxError if the payload is not JSON
   */
  json<T = unknown> (): T {
    return JSON.parse(this.getString()) // JSON.parse returns `any`: the caller names the type
  }
}

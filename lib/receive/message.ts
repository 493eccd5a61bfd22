/** One message as it came. Its bytes are decoded only when somebody asks for a string. */
export class Message<Sender> {
  #memory: Buffer // the payload is a part of it
  #start: number
  #end: number
  #isAscii: boolean // whether the payload is known to be ASCII
  /** True for a binary message, false for a text message (RFC 6455, section 5.6). */
  readonly isBinary: boolean
  /** The connection on which the message came. */
  readonly sender: Sender

  /** @internal */
  constructor (memory: Buffer, start: number, end: number, isBinary: boolean, isAscii: boolean, sender: Sender) {
    this.#memory = memory
    this.#start = start
    this.#end = end
    this.#isAscii = isAscii
    this.isBinary = isBinary
    this.sender = sender
  }

  /** The payload. The Buffer may be a view of memory that other messages share: copy it if you keep it for long. */
  get bytes (): Buffer {
    this.#isAscii = false // whoever has the bytes may change them
    if (this.length < this.#memory.length) this.#setMemory(this.#memory.subarray(this.#start, this.#end), 0)
    return this.#memory
  }

  /** The size of the payload in bytes. */
  get length (): number {
    return this.#end - this.#start
  }

  /** @internal Bytes of the memory that the message keeps alive. */
  get memory (): number {
    return this.#memory.buffer.byteLength
  }

  /**
   * The payload as a string.
   * @param encoding @default 'utf8'
   */
  getString (encoding: BufferEncoding = 'utf8'): string {
    // latin1 gives the same string for ASCII, and is faster
    return this.#memory.toString(this.#isAscii && encoding === 'utf8' ? 'latin1' : encoding, this.#start, this.#end)
  }

  /**
   * The payload parsed as JSON. Nothing is validated: `T` is what the caller says it is.
   * @throws SyntaxError if the payload is not JSON
   */
  json<T = unknown> (): T {
    return JSON.parse(this.getString()) // JSON.parse returns `any`: the caller names the type
  }

  /** @internal Copies the payload to other memory, which replaces that of the message. Returns where it ends there. */
  moveTo (memory: Buffer, start: number): number {
    this.#memory.copy(memory, start, this.#start, this.#end)
    this.#setMemory(memory, start)
    return this.#end
  }

  #setMemory (memory: Buffer, start: number): void {
    this.#end += start - this.#start
    this.#start = start
    this.#memory = memory
  }
}

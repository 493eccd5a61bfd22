/** A map of what was set last: above its size, the eldest is forgotten. */
export class Recent<Value> {
  readonly #size: number
  readonly #values = new Map<string, Value>()

  constructor (size: number) {
    this.#size = size
  }

  get (key: string): Value | undefined {
    return this.#values.get(key)
  }

  set (key: string, value: Value): void {
    this.#values.delete(key)
    this.#values.set(key, value)
    if (this.#values.size <= this.#size) return
    const [eldest] = this.#values.keys()
    this.#values.delete(eldest!)
  }
}

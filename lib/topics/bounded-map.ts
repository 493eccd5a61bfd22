/** A map with a size limit: above it, the entry that was set the longest time ago is removed. */
export class BoundedMap<Value> {
  readonly #maxSize: number
  readonly #values = new Map<string, Value>()

  constructor (maxSize: number) {
    this.#maxSize = maxSize
  }

  get (key: string): Value | undefined {
    return this.#values.get(key)
  }

  set (key: string, value: Value): void {
    this.#values.delete(key) // so that the key moves to the end of the map's order
    this.#values.set(key, value)
    if (this.#values.size <= this.#maxSize) return
    const [oldest] = this.#values.keys()
    this.#values.delete(oldest!)
  }
}

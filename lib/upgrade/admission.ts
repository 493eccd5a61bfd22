import { errors } from '../base/errors.js'

/** The settings that decide whether an upgrade may become a connection. */
export interface AdmissionLimits {
  readonly maxConnections: number
  readonly duplicateIdentifier: 'replace' | 'reject'
}

/** The connections of the app that are open already. */
export interface OpenConnections {
  readonly size: number
  /** @returns `undefined` where no open connection has the identifier */
  get (identifier: string): unknown
}

/**
 * Decides, once for each app, whether one more connection may be opened. Upgrades that are being accepted count as well: between
 * the decision and the connection an app's `verifyClient` may take its time.
 */
export class Admission {
  readonly #limits: AdmissionLimits
  readonly #connections: OpenConnections
  readonly #heldIdentifiers = new Set<string>()
  #accepting = 0

  constructor (limits: AdmissionLimits, connections: OpenConnections) {
    this.#limits = limits
    this.#connections = connections
  }

  /**
   * Reserves a place, and the identifier where there is one, until the ticket is released.
   * @throws FST_WSA_TOO_MANY_CONNECTIONS, FST_WSA_DUPLICATE_IDENTIFIER
   */
  admit (identifier: string | null): Ticket {
    const ticket = new Ticket(this, identifier)
    const { maxConnections, duplicateIdentifier } = this.#limits
    if (this.#connections.size + this.#accepting >= maxConnections) throw new errors.FST_WSA_TOO_MANY_CONNECTIONS(maxConnections)
    if (identifier !== null) {
      if (duplicateIdentifier === 'reject' && this.#isInUse(identifier)) throw new errors.FST_WSA_DUPLICATE_IDENTIFIER(identifier)
      this.#heldIdentifiers.add(identifier)
    }
    this.#accepting++
    return ticket
  }

  /** For the ticket alone: everybody else releases the ticket. */
  release (identifier: string | null): void {
    this.#accepting--
    if (identifier !== null) this.#heldIdentifiers.delete(identifier)
  }

  #isInUse (identifier: string): boolean {
    return this.#heldIdentifiers.has(identifier) || this.#connections.get(identifier) !== undefined
  }
}

/** The place of one upgrade that is being accepted. */
export class Ticket {
  readonly #identifier: string | null
  #admission: Admission | null

  constructor (admission: Admission, identifier: string | null) {
    this.#admission = admission
    this.#identifier = identifier
  }

  /** Gives the place back: the upgrade has become a connection, which counts itself, or it has ended. Again, it does nothing. */
  release (): void {
    const admission = this.#admission
    this.#admission = null
    admission?.release(this.#identifier)
  }
}

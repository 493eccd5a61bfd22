import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http'
import { errors } from '../base/errors.js'
import { isHeaderField } from '../base/http.js'
import { assertNames, assertPlainObject, badOption, type Names } from '../base/validation.js'
import { offeredSubprotocols } from './handshake.js'

export interface AcceptOptions {
  /** One of the subprotocols that the client offered, or `null` for none. @default the first that it offered, or none */
  readonly subprotocol?: string | null | undefined
  /**
   * A name for the connection, such as a user's id, by which `app.webSockets.get` finds it. Where an open connection has it,
   * `duplicateIdentifier` decides which of the two stays. `null` means none. @default null
   */
  readonly identifier?: string | null | undefined
  /** Headers for the 101, in addition to those that were set on the reply. */
  readonly headers?: OutgoingHttpHeaders | undefined
}

const ACCEPT_OPTIONS: Names<AcceptOptions> = { subprotocol: true, identifier: true, headers: true }

/** How an upgrade is to be accepted: the options of the call and the headers of the reply, checked. */
export interface Acceptance {
  /** `false`: no subprotocol. `undefined`: the call did not choose, so the `ws` server does. */
  readonly subprotocol: string | false | undefined
  readonly identifier: string | null
  /** The lines that are added to the 101. */
  readonly headerLines: readonly string[]
}

const NO_HEADERS: OutgoingHttpHeaders = {}
const NO_LINES: readonly string[] = []

/** Shared, because most calls have no options and most replies no headers. */
const PLAIN: Acceptance = { subprotocol: undefined, identifier: null, headerLines: NO_LINES }

/**
 * @param requestHeaders of the upgrade request, for the subprotocols that it offers
 * @param replyHeaders what was set on the reply so far
 * @throws FST_WSA_BAD_OPTION, FST_WSA_SUBPROTOCOL_NOT_OFFERED
 */
export function readAcceptOptions (
  options: AcceptOptions | undefined,
  requestHeaders: IncomingHttpHeaders,
  replyHeaders: OutgoingHttpHeaders
): Acceptance {
  if (options === undefined) {
    return isEmpty(replyHeaders) ? PLAIN : { ...PLAIN, headerLines: readHeaders(NO_HEADERS, replyHeaders) }
  }
  assertPlainObject('options', options)
  assertNames(options, ACCEPT_OPTIONS, badOption)
  const { subprotocol, identifier, headers = NO_HEADERS } = options
  return {
    subprotocol: readSubprotocol(subprotocol, requestHeaders),
    identifier: readIdentifier(identifier),
    headerLines: headers === NO_HEADERS && isEmpty(replyHeaders) ? NO_LINES : readHeaders(headers, replyHeaders)
  }
}

function readSubprotocol (subprotocol: string | null | undefined, requestHeaders: IncomingHttpHeaders): string | false | undefined {
  if (subprotocol === undefined) return undefined
  if (subprotocol === null) return false
  if (typeof subprotocol !== 'string' || subprotocol === '') throw badOption('subprotocol', 'one that the client offered, or null for none', subprotocol)
  const offered = offeredSubprotocols(requestHeaders)
  if (!offered.includes(subprotocol)) throw new errors.FST_WSA_SUBPROTOCOL_NOT_OFFERED(subprotocol, offered.join(', '))
  return subprotocol
}

function readIdentifier (identifier: string | null | undefined): string | null {
  if (identifier === undefined || identifier === null) return null
  if (typeof identifier !== 'string' || identifier === '') throw badOption('identifier', 'a string that is not empty, or null for none', identifier)
  return identifier
}

/** Headers about the connection or about a body, and headers that the handshake itself writes: they cannot be added to a 101. */
const NOT_ON_101 = /^(connection|keep-alive|proxy-connection|te|trailer|transfer-encoding|upgrade|content-length|sec-websocket-.*)$/i

/**
 * A header of the call replaces one of the reply, except that cookies add up. A header that cannot be on a 101 is left out where
 * the reply has it, because a hook may have set it for HTTP answers, and refused where the call has it.
 */
function readHeaders (given: OutgoingHttpHeaders, reply: OutgoingHttpHeaders): readonly string[] {
  assertPlainObject('headers', given)
  const givenNames = new Set(Object.keys(given).map((name) => name.toLowerCase()))
  const kept = Object.entries(reply).filter(([name]) =>
    !NOT_ON_101.test(name) && (name.toLowerCase() === 'set-cookie' || !givenNames.has(name.toLowerCase())))
  const refused = Object.keys(given).find((name) => NOT_ON_101.test(name))
  if (refused !== undefined) throw badOption(`headers["${refused}"]`, 'a header that may be on a 101', given[refused])

  return [...kept, ...Object.entries(given)].flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map((each) => headerLine(name, each)))
}

function headerLine (name: string, value: string | number | undefined): string {
  if (value === undefined || value === null || typeof value === 'symbol') {
    throw badOption(`headers["${name}"]`, 'a string, a number or an array of these', value)
  }
  if (!isHeaderField(name, String(value))) throw badOption(`headers["${name}"]`, 'a name and a value that are valid in a header', value)
  return `${name}: ${value}`
}

function isEmpty (headers: OutgoingHttpHeaders): boolean {
  return Object.keys(headers).length === 0
}

import { validateHeaderName, validateHeaderValue, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http'
import { assertPlainObject, badOption } from '../base/validation.js'
import { errors } from '../base/errors.js'

const KEY = /^[+/0-9A-Za-z]{22}==$/
/** RFC 9110, section 5.6.2. */
export const TOKEN = /^[!#$%&'*+\-.0-9A-Z^_`|a-z~]+$/

/**
 * Whether a request with an Upgrade header asks for a WebSocket and nothing else. Where it does not, the header may be
 * ignored (RFC 9110, section 7.8), and in HTTP/1.0 it must be; a body would be taken for frames.
 */
export function asksForWebSocket ({ method, httpVersion, headers }: IncomingMessage): boolean {
  return method === 'GET' && httpVersion === '1.1' && headers.upgrade?.toLowerCase() === 'websocket' &&
    headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0
}

/**
 * Checks the client's opening handshake (RFC 6455, section 4.2.1; RFC 9112, section 3.2 for Host).
 * @throws FST_WSA_BAD_HANDSHAKE, FST_WSA_UNSUPPORTED_VERSION
 */
export function assertHandshake ({ headers, rawHeaders }: IncomingMessage): void {
  const hosts = rawHeaders === undefined ? 1 : countHosts(rawHeaders) // a request that was injected has no raw headers
  if (hosts !== 1) throw new errors.FST_WSA_BAD_HANDSHAKE(`it has ${hosts} Host headers instead of one`)

  const version = headers['sec-websocket-version']
  if (version === undefined) throw new errors.FST_WSA_BAD_HANDSHAKE('it has no Sec-WebSocket-Version header')
  if (String(version) !== '13') {
    throw Object.assign(new errors.FST_WSA_UNSUPPORTED_VERSION(version), { headers: { 'sec-websocket-version': '13' } })
  }
  if (!KEY.test(headers['sec-websocket-key'] ?? '')) {
    throw new errors.FST_WSA_BAD_HANDSHAKE('its Sec-WebSocket-Key is not 16 bytes in base64')
  }
  if (headers['sec-websocket-protocol'] === undefined) return
  const offered = offeredSubprotocols(headers)
  if (new Set(offered).size !== offered.length || !offered.every((name) => TOKEN.test(name))) {
    throw new errors.FST_WSA_BAD_HANDSHAKE('its Sec-WebSocket-Protocol is not a list of different tokens')
  }
}

function countHosts (rawHeaders: readonly string[]): number {
  let count = 0
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (rawHeaders[i]?.length === 4 && rawHeaders[i]?.toLowerCase() === 'host') count++
  }
  return count
}

/** The subprotocols that the client offers, the one it likes best first. */
export function offeredSubprotocols (headers: IncomingMessage['headers']): string[] {
  const offered = headers['sec-websocket-protocol']
  return offered === undefined ? [] : offered.split(',').map((name) => name.trim())
}

/** Headers that speak of the connection or of a body, or that the handshake itself writes: not for the 101. */
const NOT_ON_101 = /^(connection|keep-alive|proxy-connection|te|trailer|transfer-encoding|upgrade|content-length|sec-websocket-.*)$/i

const NONE: OutgoingHttpHeaders = {}
const NO_LINES: readonly string[] = []

/**
 * The lines that go on the 101: what was set on the reply so far, and what was given with the call, which wins;
 * cookies add up. What has no place there is left out where the reply had it, and refused where the call named it.
 * @throws FST_WSA_BAD_OPTION
 */
export function headerLines (reply: OutgoingHttpHeaders, given: OutgoingHttpHeaders = NONE): readonly string[] {
  if (given === NONE && Object.keys(reply).length === 0) return NO_LINES
  assertPlainObject('headers', given)
  const own = new Set(Object.keys(given).map((name) => name.toLowerCase()))
  const kept = Object.entries(reply).filter(([name]) =>
    !NOT_ON_101.test(name) && (name.toLowerCase() === 'set-cookie' || !own.has(name.toLowerCase())))
  const refused = Object.keys(given).find((name) => NOT_ON_101.test(name))
  if (refused !== undefined) throw badOption(`headers["${refused}"]`, 'a header that may stand on a 101', given[refused])

  return [...kept, ...Object.entries(given)].flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map((each) => headerLine(name, each)))
}

function headerLine (name: string, value: string | number | undefined): string {
  if (value === undefined || value === null || typeof value === 'symbol') {
    throw badOption(`headers["${name}"]`, 'a string, a number or an array of these', value)
  }
  try {
    validateHeaderName(name)
    validateHeaderValue(name, String(value))
  } catch {
    throw badOption(`headers["${name}"]`, 'a name and a value that may stand in a header', value)
  }
  return `${name}: ${value}`
}

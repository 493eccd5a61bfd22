import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { errors } from '../base/errors.js'
import { isToken } from '../base/http.js'

const KEY = /^[+/0-9A-Za-z]{22}==$/

/**
 * Checks the client's opening handshake (RFC 6455, section 4.2.1; RFC 9112, section 3.2 for Host).
 * @throws FST_WSA_BAD_HANDSHAKE, FST_WSA_UNSUPPORTED_VERSION
 */
export function assertHandshake ({ headers, rawHeaders }: IncomingMessage): void {
  const hosts = rawHeaders === undefined ? 1 : countHosts(rawHeaders) // a request of `injectWS` has no raw headers
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
  if (new Set(offered).size !== offered.length || !offered.every(isToken)) {
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

/** The subprotocols that the client offers, in the order of its preference. */
export function offeredSubprotocols (headers: IncomingHttpHeaders): string[] {
  const offered = headers['sec-websocket-protocol']
  return offered === undefined ? [] : offered.split(',').map((name) => name.trim())
}

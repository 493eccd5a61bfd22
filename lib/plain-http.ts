import type { IncomingMessage, Server } from 'node:http'
import type { TLSSocket } from 'node:tls'
import type { RawExchange } from './raw-exchange.js'

/**
 * Serves a request as if it had no Upgrade header. Node has parsed its head already and let go of the connection, so
 * the head is written anew without that header, put back in front of what follows it, and the connection is handed to
 * the server once more: the body is read, and the connection kept alive, as ever.
 */
export function serveAsPlainHttp (server: Server, { raw, socket, head }: RawExchange): void {
  socket.unshift(Buffer.concat([Buffer.from(headWithoutUpgrade(raw), 'latin1'), head]))
  server.emit((socket as TLSSocket).encrypted ? 'secureConnection' : 'connection', socket)
}

/** Node drops the headers past a limit: what was dropped may say how long the body is. */
export function isTruncated ({ maxHeadersCount }: Server, { rawHeaders }: IncomingMessage): boolean {
  const limit = maxHeadersCount === null ? 2000 : maxHeadersCount * 2
  return limit > 0 && rawHeaders.length >= limit
}

function headWithoutUpgrade ({ method, url, httpVersion, rawHeaders }: IncomingMessage): string {
  const lines = [`${method} ${url} HTTP/${httpVersion}`]
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string // names and values alternate
    const value = rawHeaders[i + 1] as string
    if (/^(upgrade|http2-settings)$/i.test(name)) continue
    if (/^connection$/i.test(name)) lines.push(...connectionWithoutUpgrade(name, value))
    else lines.push(`${name}: ${value}`)
  }
  return lines.join('\r\n') + '\r\n\r\n'
}

function connectionWithoutUpgrade (name: string, value: string): string[] {
  const kept = value.split(',').filter((option) => !/^\s*(upgrade|http2-settings)\s*$/i.test(option))
  return kept.length === 0 ? [] : [`${name}: ${kept.join(',').trim()}`]
}

import type { IncomingMessage, Server } from 'node:http'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { debug } from '../base/debug.js'
import { isToken } from '../base/http.js'
import { MAX_RAW_HEADERS, READS_BODIES, serverOf, type RawExchange } from './raw-exchange.js'

const NOTHING = Buffer.alloc(0)
const CRLF = Buffer.from('\r\n')

/**
 * Serves a request as if it had no Upgrade header. Node has already parsed its head and no longer looks after the connection. So
 * the head is written again without that header and put back in front of what follows it, and the server gets the connection once
 * more: it reads the body and keeps the connection alive, as for any request. If it is not certain what the head was, or where the
 * body begins and ends, the request is refused and the connection ends.
 *
 * The `shouldUpgradeCallback` of newer versions of Node is no way to do this: when it refuses a request, what follows that request
 * in the same read is lost.
 */
export function serveAsPlainHttp (server: Server, exchange: RawExchange): void {
  const { raw, socket, head } = exchange
  if (!isRewritable(raw)) return exchange.endInTurn(400)
  if (debug.enabled) debug('%s %j: served as plain HTTP', raw.method, raw.url)
  if (READS_BODIES && !raw.complete) answerWhileReading(server, exchange)
  else giveBack(server, socket, Buffer.concat([headWithoutUpgrade(raw), bodyRead(raw), head]))
}

function giveBack (server: Server, socket: Socket, bytes: Buffer): void {
  socket.unshift(bytes)
  const owner = serverOf(socket) ?? server
  owner.emit((socket as TLSSocket).encrypted ? 'secureConnection' : 'connection', socket)
}

const METHOD = /^[A-Z-]+$/
const TARGET = /^[\x21-\x7e\x80-\xff]+$/
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/

/** Whether the head can be written again exactly as it was. A server that parses leniently also accepts others. */
export function isRewritable (raw: IncomingMessage): boolean {
  const { method = '', url = '', httpVersion, rawHeaders } = raw
  return METHOD.test(method) && TARGET.test(url) && /^1\.[01]$/.test(httpVersion) &&
    rawHeaders.length < MAX_RAW_HEADERS && // the limit may have been different when the connection was made
    rawHeaders.every((text, i) => i % 2 === 0 ? isToken(text) : VALUE.test(text)) &&
    isFramed(raw)
}

/** Whether the head says in exactly one way where the body ends (RFC 9112, section 6.3), and no part of the body was read. */
function isFramed ({ headers, rawHeaders, httpVersion, complete, readableLength, readableDidRead }: IncomingMessage): boolean {
  const { 'content-length': length = '0', 'transfer-encoding': coding } = headers
  const framing = rawHeaders.filter((name, i) => i % 2 === 0 && /^(content-length|transfer-encoding)$/i.test(name))
  if (framing.length > 1 || readableDidRead) return false
  if (coding !== undefined) return coding.toLowerCase() === 'chunked' && httpVersion === '1.1'
  return /^\d+$/.test(length) && (!complete || readableLength === (READS_BODIES ? Number(length) : 0))
}

export function headWithoutUpgrade ({ method, url, httpVersion, rawHeaders }: IncomingMessage): Buffer {
  const lines = [`${method} ${url} HTTP/${httpVersion}`]
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string // names and values alternate
    const value = rawHeaders[i + 1] as string
    if (/^(upgrade|http2-settings)$/i.test(name)) continue
    if (/^connection$/i.test(name)) lines.push(...connectionWithoutUpgrade(name, value))
    else lines.push(`${name}: ${value}`)
  }
  return Buffer.from(lines.join('\r\n') + '\r\n\r\n', 'latin1')
}

function connectionWithoutUpgrade (name: string, value: string): string[] {
  const kept = value.split(',').filter((option) => !/^\s*(upgrade|http2-settings)\s*$/i.test(option))
  return kept.length === 0 ? [] : [`${name}: ${kept.join(',').trim()}`]
}

/** The part of the body that Node has read, as it was on the wire. */
function bodyRead (raw: IncomingMessage): Buffer {
  if (!READS_BODIES) return NOTHING
  const parts: Buffer[] = []
  for (let part; (part = raw.read()) !== null;) parts.push(part)
  if (raw.headers['transfer-encoding'] === undefined) return Buffer.concat(parts)
  const chunks = parts.flatMap((part) => [Buffer.from(`${part.length.toString(16)}\r\n`), part, CRLF])
  return Buffer.concat([...chunks, Buffer.from('0\r\n\r\n')])
}

/**
 * Answers a request while Node still reads its body. Then the connection ends, because Node would give the next upgrade request
 * the stream that it has made for what follows this body.
 */
function answerWhileReading (server: Server, exchange: RawExchange): void {
  const { raw, raw: { headers }, socket, response } = exchange
  delete headers.upgrade
  delete headers['http2-settings']
  response.shouldKeepAlive = false
  response.assignSocket(socket)
  exchange.watch({
    exchangeOnTimeout: () => false, // plain HTTP has no such limit
    exchangeOnAnswer () {},
    exchangeOnClose () {
      if (!response.writableEnded) raw.destroy(Object.assign(new Error('aborted'), { code: 'ECONNRESET' })) // as Node does
    },
    refuse () {}
  })
  if (/^100-continue$/i.test(headers.expect ?? '')) response.writeContinue()
  server.emit('request', raw, response)
}

import type { IncomingMessage } from 'node:http'
import t from 'tap'
import { headWithoutUpgrade, isRewritable } from '../../lib/upgrade/plain-http.js'

/** A request without a body, as Node has parsed it; `rawHeaders` are given as pairs. */
function request (rawHeaders: [name: string, value: string][], parts: object = {}): IncomingMessage {
  return {
    method: 'POST',
    url: '/path?query',
    httpVersion: '1.1',
    complete: true,
    readableLength: 0,
    readableDidRead: false,
    rawHeaders: rawHeaders.flat(),
    headers: Object.fromEntries(rawHeaders.map(([name, value]) => [name.toLowerCase(), value])),
    ...parts
  } as IncomingMessage // all that is read
}

const headOf = (...rawHeaders: [name: string, value: string][]) => headWithoutUpgrade(request(rawHeaders)).toString('latin1')

t.test('headWithoutUpgrade() leaves out Upgrade and HTTP2-Settings, and keeps every other header as it was', async (t) => {
  t.equal(
    headOf(['Host', 'a'], ['UPGRADE', 'h2c'], ['http2-settings', 'AAMAAABk'], ['X-Case', 'Kept  as it is'], ['X-Twice', '1'], ['X-Twice', '2']),
    'POST /path?query HTTP/1.1\r\nHost: a\r\nX-Case: Kept  as it is\r\nX-Twice: 1\r\nX-Twice: 2\r\n\r\n')
})

t.test('headWithoutUpgrade() leaves out the options of Connection that name them, and the header if it had no others', async (t) => {
  t.equal(headOf(['Connection', 'Upgrade, HTTP2-Settings']), 'POST /path?query HTTP/1.1\r\n\r\n')
  t.equal(headOf(['Connection', 'keep-alive, upgrade, x-own']), 'POST /path?query HTTP/1.1\r\nConnection: keep-alive, x-own\r\n\r\n')
})

t.test('headWithoutUpgrade() writes bytes above 127 as they came', async (t) => {
  t.same(headWithoutUpgrade(request([['X-A', '\u00e9']])), Buffer.from('POST /path?query HTTP/1.1\r\nX-A: \u00e9\r\n\r\n', 'latin1'))
})

t.test('isRewritable() is true for a request whose head and body are certain', async (t) => {
  t.equal(isRewritable(request([['Host', 'a']])), true)
  t.equal(isRewritable(request([['Host', 'a']], { httpVersion: '1.0', method: 'M-SEARCH' })), true)
  t.equal(isRewritable(request([['Content-Length', '5']], { complete: false })), true)
  t.equal(isRewritable(request([['Transfer-Encoding', 'Chunked']])), true)
})

t.test('isRewritable() is false for a head that only a lenient parser accepts', async (t) => {
  for (const parts of [{ method: 'get' }, { method: '' }, { url: '/a b' }, { url: '/\r\n' }, { url: '' }, { httpVersion: '2.0' }]) {
    t.equal(isRewritable(request([['Host', 'a']], parts)), false, JSON.stringify(parts))
  }
  for (const header of [['X A', 'a'], ['', 'a'], ['X-A', 'a\r\nb'], ['X-A', 'a\0']] as [string, string][]) {
    t.equal(isRewritable(request([header])), false, JSON.stringify(header))
  }
})

t.test('isRewritable() is false where it is not certain where the body ends', async (t) => {
  const framings: [string, string][][] = [
    [['Content-Length', '5'], ['Content-Length', '5']],
    [['Content-Length', '5'], ['Transfer-Encoding', 'chunked']],
    [['Transfer-Encoding', 'gzip']],
    [['Transfer-Encoding', 'gzip, chunked']],
    [['Content-Length', '+5']],
    [['Content-Length', '5, 5']]
  ]
  for (const framing of framings) t.equal(isRewritable(request(framing, { complete: false })), false, JSON.stringify(framing))
  t.equal(isRewritable(request([['Transfer-Encoding', 'chunked']], { httpVersion: '1.0' })), false, 'chunked in HTTP/1.0')
  t.equal(isRewritable(request([['Content-Length', '5']], { readableDidRead: true })), false, 'a part of the body was read')
})

t.test('isRewritable() is false where the parser may have dropped headers', async (t) => {
  t.equal(isRewritable(request(Array.from({ length: 1000 }, (_, i) => [`x-${i}`, 'a']))), false)
  t.equal(isRewritable(request(Array.from({ length: 999 }, (_, i) => [`x-${i}`, 'a']))), true)
})

import type { IncomingMessage } from 'node:http'
import t from 'tap'
import { assertHandshake, offeredSubprotocols } from '../../lib/upgrade/handshake.js'

const HEADERS = {
  host: 'example.com',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ=='
}

function check (headers: object, rawHeaders: string[] | undefined = ['Host', 'example.com']): void {
  assertHandshake({ headers: { ...HEADERS, ...headers }, rawHeaders } as unknown as IncomingMessage)
}

const refusal = (message: RegExp) => ({ code: 'FST_WSA_BAD_HANDSHAKE', statusCode: 400, message })

t.test('assertHandshake() accepts a complete handshake', async (t) => {
  t.doesNotThrow(() => check({}))
  t.doesNotThrow(() => check({ 'sec-websocket-protocol': 'graphql-ws, chat' }))
})

t.test('assertHandshake() accepts a request of injectWS, which has no raw headers and a version that is a number', async (t) => {
  t.doesNotThrow(() => assertHandshake({ headers: { ...HEADERS, 'sec-websocket-version': 13 } } as unknown as IncomingMessage))
})

t.test('assertHandshake() refuses a request unless it has one Host header', async (t) => {
  t.throws(() => check({}, []), refusal(/0 Host headers/))
  t.throws(() => check({}, ['Host', 'a', 'HOST', 'b']), refusal(/2 Host headers/))
  t.throws(() => check({}, ['x-a', 'host']), refusal(/0 Host headers/))
  t.throws(() => check({}, ['hosts', 'a']), refusal(/0 Host headers/))
})

t.test('assertHandshake() refuses every version but 13, and names that one', async (t) => {
  t.throws(() => check({ 'sec-websocket-version': undefined }), refusal(/no Sec-WebSocket-Version/))
  for (const version of ['', '8', '12', '13.0', '013', '13, 8']) {
    t.throws(() => check({ 'sec-websocket-version': version }), {
      code: 'FST_WSA_UNSUPPORTED_VERSION',
      statusCode: 426,
      headers: { 'sec-websocket-version': '13' }
    }, version)
  }
})

t.test('assertHandshake() refuses a key that is not 16 bytes in base64', async (t) => {
  for (const key of [undefined, '', 'dGhlIHNhbXBsZSBub25jZQ', 'dGhlIHNhbXBsZSBub25jZQ==\n', 'dGhlIHNhbXBsZSBub25jZQ===', 'dGhl_HNhbXBsZSBub25jZQ==']) {
    t.throws(() => check({ 'sec-websocket-key': key }), refusal(/Sec-WebSocket-Key/), JSON.stringify(key))
  }
})

t.test('assertHandshake() refuses subprotocols that are not different tokens', async (t) => {
  for (const offered of ['', 'a,', 'a b', 'a, a', 'a/b', '"a"']) {
    t.throws(() => check({ 'sec-websocket-protocol': offered }), refusal(/Sec-WebSocket-Protocol/), JSON.stringify(offered))
  }
})

t.test('offeredSubprotocols() keeps the order of the client, without the spaces', async (t) => {
  t.same(offeredSubprotocols({}), [])
  t.same(offeredSubprotocols({ 'sec-websocket-protocol': 'b ,a,  c' }), ['b', 'a', 'c'])
})

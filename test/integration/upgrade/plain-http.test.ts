import dns from 'node:dns'
import { once } from 'node:events'
import type { Server } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import t, { type Test } from 'tap'
import websocketAsync from '../../../index.js'
import { RawClient } from '../../fixtures/raw-client.js'
import { connectTls, tlsOptions } from '../../fixtures/tls.js'

// A request that asks for an upgrade to something else than a WebSocket is plain HTTP, on whatever kind of server it comes:
// it is answered, what follows it on the connection is the next request, and nothing else is taken for a request

const major = Number.parseInt(process.versions.node)
const endsAfterLateBody = major >= 26

interface Kind {
  options?: object
  /** The address that the client connects to. @default 127.0.0.1 */
  host?: string
  isTls?: boolean
}

const kinds: Record<string, Kind> = {
  http: {},
  https: { options: { https: tlsOptions }, isTls: true },
  'http2 that allows HTTP/1': { options: { http2: true, https: { ...tlsOptions, allowHTTP1: true } }, isTls: true },
  'the second server of localhost': { host: '127.0.0.2' }
}

/** `localhost` has two addresses, as it has where there is IPv6. */
function stubLookup (t: Test): void {
  const { lookup } = dns
  t.teardown(() => { dns.lookup = lookup })
  const addresses = [{ address: '127.0.0.1', family: 4 }, { address: '127.0.0.2', family: 4 }]
  const stub = (host: string, ...rest: unknown[]) => {
    if (rest.length === 1 || host !== 'localhost') return Reflect.apply(lookup, dns, [host, ...rest])
    const done = rest[1] as (error: null, addresses: object[]) => void
    done(null, addresses)
  }
  dns.lookup = stub as typeof lookup
}

async function start (t: Test, { options, host = '127.0.0.1', isTls = false }: Kind) {
  const app = Fastify(options as FastifyServerOptions) as unknown as FastifyInstance
  t.teardown(() => app.close())
  await app.register(websocketAsync, { shutdown: { timeout: 500 } })
  app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body))
  const seen: string[] = []
  app.addHook('onRequest', async ({ method, url }) => { seen.push(`${method} ${url}`) })
  app.route({
    method: ['GET', 'POST'],
    url: '/*',
    handler: async ({ url, body, headers, isWebSocketUpgrade }) => {
      if (headers.upgrade !== undefined || isWebSocketUpgrade) return 'it is seen as an upgrade'
      return `[${url} ${typeof body === 'string' ? body : ''}]`
    }
  })
  if (host !== '127.0.0.1') stubLookup(t)
  await app.listen({ port: 0, ...host === '127.0.0.1' && { host } })
  const { port } = app.server.address() as AddressInfo
  const open = async () => {
    const socket = isTls ? connectTls({ port, host }) : connect({ port, host })
    t.teardown(() => socket.destroy())
    const client = new RawClient(socket)
    await once(socket, isTls ? 'secureConnect' : 'connect')
    return client
  }
  return { app, seen, open }
}

/** The next answer: its head, and its body, which is in brackets where the route wrote it. */
async function answer (client: RawClient): Promise<string> {
  const head = await client.head()
  const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0)
  return `${head.slice(9, 12)} ${String(await client.bytes(length))}`
}

const upgrade = 'Host: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nContent-Type: text/plain\r\n'
const post = (headers: string) => `POST /a HTTP/1.1\r\n${upgrade}${headers}\r\n`
const next = 'POST /next HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nnext'

interface Exchange {
  parts: string[]
  body: string
  /** The body is not there together with the head: since Node 26 the connection ends after the answer. */
  isLate?: boolean
}

/** Once what was written has been read: within one process that takes two turns. */
async function delivered (): Promise<void> {
  await nextTurn()
  await nextTurn()
}

/** What the client writes, each part when the one before has arrived. */
const requests: Record<string, Exchange> = {
  'without a body': { parts: [`GET /a HTTP/1.1\r\n${upgrade}\r\n`], body: '' },
  'with an empty body': { parts: [post('Content-Length: 0\r\n')], body: '' },
  'with a body': { parts: [post('Content-Length: 3\r\n') + 'abc'], body: 'abc' },
  'with a body in parts': { parts: [post('Content-Length: 3\r\n'), 'a', 'bc'], body: 'abc', isLate: true },
  'with a chunked body': { parts: [post('Transfer-Encoding: chunked\r\n') + '1\r\na\r\n2\r\nbc\r\n0\r\n\r\n'], body: 'abc' },
  'with a chunked body in parts': { parts: [post('Transfer-Encoding: chunked\r\n'), '1\r\na\r\n2', '\r\nbc\r\n0', '\r\n\r\n'], body: 'abc', isLate: true },
  'with a chunked body and a trailer': { parts: [post('Transfer-Encoding: chunked\r\nTrailer: x\r\n') + '3\r\nabc\r\n0\r\nx: y\r\n\r\n'], body: 'abc' },
  'with a body of 200 KB': { parts: [post('Content-Length: 200000\r\n') + 'x'.repeat(200_000)], body: 'x'.repeat(200_000), isLate: true },
  'with a body that looks like a request': { parts: [post('Content-Length: 33\r\n') + 'GET /inner HTTP/1.1\r\nHost: a\r\n\r\n\n'], body: 'GET /inner HTTP/1.1\r\nHost: a\r\n\r\n\n' },
  'in parts, each of a byte': { parts: [...post('Content-Length: 3\r\n') + 'abc'], body: 'abc', isLate: true }
}

for (const [name, kind] of Object.entries(kinds)) {
  t.test(`${name}: a request for another protocol is plain HTTP, and the connection goes on`, async (t) => {
    const { app, seen, open } = await start(t, kind)
    for (const [name, { parts, body, isLate = false }] of Object.entries(requests)) {
      for (const isPipelined of [false, true]) {
        seen.length = 0
        const client = await open()
        for (const [i, part] of parts.entries()) {
          const isLast = i === parts.length - 1
          client.write(part + (isPipelined && isLast ? next : ''))
          if (!isLast) await delivered()
        }
        t.equal(await answer(client), `200 [/a ${body}]`, `${name}, ${isPipelined ? 'pipelined' : 'alone'}`)
        if (isLate && endsAfterLateBody) {
          await client.closed
        } else {
          if (!isPipelined) client.write(next)
          t.equal(await answer(client), '200 [/next next]')
          client.socket.destroy()
          t.equal(seen.pop(), 'POST /next')
        }
        t.same(seen, [parts[0]?.startsWith('G') ? 'GET /a' : 'POST /a'], 'nothing else is a request')
      }
    }
    const idle = await open()
    idle.write(post('Content-Length: 3\r\n') + 'abc')
    await answer(idle)
    await app.close()
    await idle.closed
  })
}

const inner = 'GET /inner HTTP/1.1\r\nHost: a\r\n\r\n'

for (const [name, kind] of Object.entries(kinds)) {
  t.test(`${name}: a head that was cut short is refused, and its body is no request`, async (t) => {
    const { app, seen, open } = await start(t, kind)
    const headers = (count: number) => 'a:\r\n'.repeat(count) + `Content-Length: ${inner.length}\r\n`
    const limits = kind.host === undefined ? [undefined, 100, 60] : [undefined] // the app's limits are not on the second server
    for (const limit of limits) {
      if (limit !== undefined) app.server.maxHeadersCount = limit
      for (const upgrade of ['h2c', 'websocket']) {
        seen.length = 0
        const client = await open()
        client.write(post(headers(limit ?? 2000)).replace('h2c', upgrade) + inner)
        t.match(await client.all(), /^HTTP\/1.1 431 /, `${upgrade}, a limit of ${limit}`)
        t.notOk(seen.includes('GET /inner'))
      }
    }
  })
}

t.test('the body of the request that follows, in a later read, is no request', async (t) => {
  const { seen, open } = await start(t, {})
  for (const first of [`GET /a HTTP/1.1\r\n${upgrade}\r\n`, post('Content-Length: 3\r\n') + 'abc']) {
    seen.length = 0
    const client = await open()
    client.write(first + next.replace('4\r\n\r\nnext', `${inner.length}\r\n\r\n`))
    t.match(await answer(client), /^200 /)
    client.write(inner)
    t.equal(await answer(client), `200 [/next ${inner}]`)
    t.equal(seen.length, 2)
  }
})

t.test('a limit that was raised since the connection was made is no way around it', async (t) => {
  const { app, seen, open } = await start(t, {})
  const client = await open()
  app.server.maxHeadersCount = 0
  client.write(post('a:\r\n'.repeat(2000) + `Content-Length: ${inner.length}\r\n`) + inner)
  t.match(await client.all(), /^HTTP\/1.1 4(00|31) /)
  t.notOk(seen.includes('GET /inner'))
})

const uncertain: Record<string, string> = {
  'an unknown coding': post('Transfer-Encoding: xchunked\r\n'),
  'two codings in one': post('Transfer-Encoding: gzip, chunked\r\n'),
  'two codings': post('Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n'),
  'a coding and a length': post(`Transfer-Encoding: chunked\r\nContent-Length: ${inner.length}\r\n`),
  'two lengths': post(`Content-Length: 0\r\nContent-Length: ${inner.length}\r\n`),
  'a length that is none': post('Content-Length: +1\r\n'),
  'a space behind a name': post(`Content-Length : ${inner.length}\r\n`),
  'a control character': post('x: a\x01b\r\n'),
  'a zero byte': post('x: a\0b\r\n'),
  'a coding in HTTP/1.0': post('Transfer-Encoding: chunked\r\n').replace('HTTP/1.1', 'HTTP/1.0'),
  'another version': post('').replace('HTTP/1.1', 'HTTP/2.0')
}

for (const insecureHTTPParser of [false, true]) {
  t.test(`a head that is not certain is refused and the connection ends, ${insecureHTTPParser ? 'parsed leniently' : 'parsed as ever'}`, async (t) => {
    const { seen, open } = await start(t, { options: { http: { insecureHTTPParser } } })
    for (const [name, head] of Object.entries(uncertain)) {
      const client = await open()
      client.write(head + inner)
      const heard = await client.all()
      t.match(heard, /^HTTP\/1.1 400 /, name)
      t.equal(heard.match(/HTTP\/1.1/g)?.length, 1, 'it is the only answer')
    }
    t.same(seen, [])
  })
}

t.test('a head is put back byte for byte', async (t) => {
  const { app, open } = await start(t, {})
  const heads: string[][] = []
  app.server.on('request', ({ url, rawHeaders }) => { heads.push([url as string, ...rawHeaders]) })
  const client = await open()
  client.write(Buffer.from(`GET /%00?a=b#c HTTP/1.1\r\n${upgrade}X-Latin: \xe4\xff\r\nx-LATIN:\ta\tb  \r\nEmpty:\r\n\r\n`, 'latin1'))
  t.match(await answer(client), /^200 /)
  t.same(heads, [['/%00?a=b#c', 'Host', 'a', 'Content-Type', 'text/plain', 'X-Latin', '\xe4\xff', 'x-LATIN', 'a\tb', 'Empty', '']])
})

t.test('a client that sends Expect: 100-continue gets its 100', async (t) => {
  const { open } = await start(t, {})
  const client = await open()
  client.write(post('Content-Length: 4\r\nExpect: 100-continue\r\n'))
  t.match(await client.head(), /^HTTP\/1.1 100 /)
  client.write('body')
  t.equal(await answer(client), '200 [/a body]')
})

t.test('a client that leaves amid its body leaves nothing behind', async (t) => {
  const { app, open } = await start(t, {})
  const closed: Promise<unknown>[] = []
  app.server.on('connection', (socket: Socket) => closed.push(once(socket, 'close').catch(() => {})))
  for (const leave of [(socket: Socket) => socket.resetAndDestroy(), (socket: Socket) => socket.end()]) {
    const client = await open()
    const routed = new Promise<void>((resolve) => app.server.once('request', () => resolve()))
    client.write(post('Content-Length: 4\r\n') + 'bo')
    await routed
    leave(client.socket)
    await client.closed
  }
  await Promise.all(closed)
  await app.close()
})

t.test('a client that stops amid its body does not keep the app from closing', { skip: !endsAfterLateBody && 'it is in the hands of Node' }, async (t) => {
  const { app, open } = await start(t, {})
  const client = await open()
  const routed = once(app.server, 'request')
  client.write(post('Content-Length: 4\r\n') + 'bo')
  await routed
  await app.close()
  t.equal(await client.all(), '')
})

t.test('a body of 8 MiB that no route reads does not hold up the answer or app.close()', async (t) => {
  const { app, open } = await start(t, {})
  const client = await open()
  client.write(post(`Content-Length: ${8 * 1024 * 1024}\r\n`).replace('/a', '/%zz') + 'x'.repeat(8 * 1024 * 1024))
  t.match(await answer(client), /^400 /)
  client.socket.destroy()
  await app.close()
})

t.test('30 requests for another protocol on one connection are all answered, without a warning of a leak', async (t) => {
  const { app, open } = await start(t, {})
  const warnings: Error[] = []
  const note = (warning: Error) => warnings.push(warning)
  process.on('warning', note)
  t.teardown(() => process.off('warning', note))
  const client = await open()
  for (let i = 0; i < 30; i++) {
    client.write(post('Content-Length: 3\r\n') + 'abc')
    t.equal(await answer(client), '200 [/a abc]')
  }
  t.same(warnings, [])
  await app.close()
  await client.closed
})

t.test('another upgrade listener gets requests for other protocols too, and what it leaves is plain HTTP', async (t) => {
  const { app, open } = await start(t, {})
  app.server.on('upgrade', (request, socket: Socket) => {
    if (request.headers.upgrade === 'theirs') socket.end('HTTP/1.1 101 Theirs\r\n\r\n')
  })
  const theirs = await open()
  theirs.write(post('Content-Length: 3\r\n').replace('h2c', 'theirs') + 'abc')
  t.match(await theirs.all(), /^HTTP\/1.1 101 Theirs\r\n\r\n$/)
  for (const parts of [['abc'], ['a', 'bc']]) {
    const client = await open()
    client.write(post('Content-Length: 3\r\n') + parts[0])
    if (parts[1] !== undefined) setImmediate(() => client.write(parts[1] as string))
    t.equal(await answer(client), '200 [/a abc]')
  }
})

t.test('a shouldUpgradeCallback of the app is left alone', { skip: major < 22 && 'this version has none' }, async (t) => {
  const handshake = `GET /a HTTP/1.1\r\n${upgrade.replace('h2c', 'websocket')}\r\n`
  for (const isUpgrade of [true, false]) {
    const shouldUpgradeCallback = () => isUpgrade
    const { app, open } = await start(t, { options: { http: { shouldUpgradeCallback } } })
    t.equal((app.server as Server & { shouldUpgradeCallback: unknown }).shouldUpgradeCallback, shouldUpgradeCallback)
    const client = await open()
    client.write(handshake)
    t.equal(await answer(client), '200 it is seen as an upgrade', 'the route looks at the header')
  }
})

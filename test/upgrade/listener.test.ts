import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { FirstRequests } from '../../lib/app/first-requests.js'
import { streamPair } from '../../lib/testing/stream-pair.js'
import { upgradeOf } from '../../lib/upgrade/handler-run.js'
import { UpgradeListener } from '../../lib/upgrade/listener.js'
import { handshake } from '../fixtures/raw-client.js'
import { startExchange } from '../fixtures/upgrade-exchange.js'

/** A server whose upgrades an app routes, which answers them with their URL, and a client. */
async function start (t: Test) {
  const server = createServer((request, response) => { response.end(`plain ${request.url}`) })
  t.teardown(() => { server.close() })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const app = {
    routing (raw: IncomingMessage, response: ServerResponse) { response.end(`${upgradeOf(raw) === undefined ? 'not ' : ''}routed ${raw.url}`) }
  } as unknown as FastifyInstance
  const listener = new UpgradeListener(app, server, startExchange(t).context, new FirstRequests(server))
  listener.start()
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  t.teardown(() => { client.destroy() })
  const answer = async () => {
    let text = ''
    for await (const chunk of client.setEncoding('latin1')) text += chunk
    return text
  }
  return { server, listener, client, answer }
}

t.test('an upgrade to a WebSocket goes through the router of the app', async (t) => {
  const { client, answer } = await start(t)
  client.write(handshake('/path'))
  t.match(await answer(), /\r\n\r\nrouted \/path$/)
})

t.test('an upgrade to something else is served as plain HTTP', async (t) => {
  const { client, answer } = await start(t)
  client.write('GET /path HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n')
  t.match(await answer(), /plain \/path/)
})

t.test('a request whose headers the server may have dropped is answered with 431', async (t) => {
  const { server, client, answer } = await start(t)
  server.maxHeadersCount = 5
  client.write(handshake('/path'))
  t.match(await answer(), /^HTTP\/1\.1 431 /)
})

t.test('an upgrade that another listener takes is not routed', async (t) => {
  const { server, client, answer } = await start(t)
  server.on('upgrade', (_raw: IncomingMessage, socket: Socket) => { socket.end('theirs') })
  client.write(handshake('/path'))
  t.equal(await answer(), 'theirs')
})

t.test('an upgrade of injectWS, whose request is no message of Node, goes through the router too', async (t) => {
  const { listener } = await start(t)
  const [near, far] = streamPair()
  listener.serverOnUpgrade({ method: 'GET', url: '/injected', headers: {}, httpVersion: '1.1' } as IncomingMessage, far as unknown as Socket, Buffer.alloc(0))
  t.match(String((await once(near, 'data'))[0]), /^HTTP\/1\.1 200 /)
  near.resume()
  await once(far, 'close')
})

t.test('stop() removes the listener from the server', async (t) => {
  const { server, listener } = await start(t)
  t.equal(server.listenerCount('upgrade'), 1)
  listener.stop()
  t.equal(server.listenerCount('upgrade'), 0)
})

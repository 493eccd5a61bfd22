import { Server as HttpServer } from 'node:http'
import { createSecureServer, createServer as createHttp2Server } from 'node:http2'
import { Server as HttpsServer } from 'node:https'
import { Duplex } from 'node:stream'
import t, { type Test } from 'tap'
import { FirstRequests } from '../../lib/app/first-requests.js'
import { fakeClock } from '../fixtures/fake-clock.js'

class FakeSocket extends Duplex {
  override _read (): void {}
}

/** Watched first requests of a server that does not read from its sockets. */
function watch (t: Test, server: HttpServer = new HttpServer()) {
  const clock = fakeClock(t)
  for (const event of ['connection', 'secureConnection']) server.removeAllListeners(event)
  const firstRequests = new FirstRequests(server)
  firstRequests.watch()
  const connect = (event = 'connection') => {
    const socket = new FakeSocket()
    server.emit(event, socket)
    return socket
  }
  return { clock, server, firstRequests, connect }
}

t.test('destroyIn() destroys the connections on which no request has arrived, after the delay', async (t) => {
  const { clock, server, firstRequests, connect } = watch(t)
  const [silent, used, upgraded] = [connect(), connect(), connect()]
  server.emit('request', { socket: used })
  firstRequests.forget(upgraded)
  firstRequests.destroyIn(1000)
  const late = connect()
  clock.tick(999)
  t.equal(silent.destroyed, false)
  clock.tick(1)
  t.same([silent, late, used, upgraded].map(({ destroyed }) => destroyed), [true, true, false, false])
})

t.test('destroyIn() destroys nothing once the server has closed', async (t) => {
  const { clock, server, firstRequests, connect } = watch(t)
  const socket = connect()
  firstRequests.destroyIn(1000)
  server.emit('close')
  t.equal(clock.countTimers(), 0)
  clock.tick(1000)
  t.equal(socket.destroyed, false)
})

t.test('no listener is left on a connection whose request has arrived, or that is given to the server twice', async (t) => {
  const { server, firstRequests, connect } = watch(t)
  const before = new FakeSocket().listenerCount('close')
  const socket = connect()
  server.emit('connection', socket)
  t.equal(socket.listenerCount('close'), before + 1)
  firstRequests.forget(socket)
  firstRequests.forget(socket)
  t.equal(socket.listenerCount('close'), before)
})

t.test('a connection that closes is forgotten', async (t) => {
  const { clock, firstRequests, connect } = watch(t)
  const socket = connect()
  socket.emit('close')
  t.equal(socket.listenerCount('close'), 0)
  firstRequests.destroyIn(0)
  clock.tick(0)
  t.equal(socket.destroyed, false)
})

t.test('an HTTPS server has a connection after its TLS handshake', async (t) => {
  const { clock, firstRequests, connect } = watch(t, new HttpsServer())
  const [tcp, tls] = [connect('connection'), connect('secureConnection')]
  firstRequests.destroyIn(0)
  clock.tick(0)
  t.same([tcp.destroyed, tls.destroyed], [false, true])
})

t.test('an HTTP/2 server is not watched', async (t) => {
  for (const server of [createHttp2Server(), createSecureServer()]) {
    const events = ['connection', 'secureConnection', 'request'] as const
    const counts = () => events.map((event) => server.listenerCount(event))
    const before = counts()
    new FirstRequests(server as unknown as HttpServer).watch()
    t.same(counts(), before)
  }
})

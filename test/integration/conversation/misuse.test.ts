import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { AsyncWebSocket } from '../../../index.js'
import { buildApp, type Options } from '../../fixtures/app.js'
import { captureLog } from '../../fixtures/log.js'

/** An app with one open connection, and a test's client for it. */
async function connect (t: Test, options: Options = {}) {
  const app = await buildApp(t, options)
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    await ws.closed
  })
  await app.ready()
  const opened = once(app.webSockets, 'open')
  const client = await app.injectWebSocketAsync('/')
  const [ws] = await opened as [AsyncWebSocket]
  return { app, ws, client }
}

const code = 'FST_WSA_INVALID_ARGUMENT'

t.test('a name that a call does not know is refused with the nearest one', async (t) => {
  const { app, ws, client } = await connect(t)
  const never = (options: object) => options as never
  await t.rejects(ws.receiveMessageAsync(never({ timeOut: 50 })), { code, message: /options.timeOut: .*such as timeout, received 50/ })
  await t.rejects(ws.sendAsync('x', never({ compressed: false })), { code, message: /such as compress,/ })
  await t.rejects(ws.pingAsync(never({ timeOut: 5 })), { code, message: /such as timeout,/ })
  await t.rejects(ws.pingAsync(never({ signal: AbortSignal.abort() })), { code, message: /signal/ })
  await t.rejects(ws.subscribeAsync('a', never({ wildcard: true })), { code, message: /such as wildcards,/ })
  t.throws(() => ws.pingPolicy.start(never({ intervall: 5 })), { code, message: /such as interval,/ })
  t.throws(() => ws.pingPolicy.start('5s' as never), { code, message: /expected { interval: 5000 }, received '5s'/ })
  await t.rejects(app.webSockets.publishAsync('a', 'x', never({ exept: ws })), { code, message: /such as except,/ })
  await t.rejects(app.webSockets.publishAsync('a', 'x', never(ws)), { code, message: /expected { except: ws }/ })
  await t.rejects(app.injectWebSocketAsync('/', never({ header: {} })), { code, message: /such as headers,/ })
  await client.sendAsync('still open')
  t.equal((await ws.receiveMessageAsync())?.getString(), 'still open')
})

t.test('a name that getWebSocketAsync() does not know is answered with 500, and opens nothing', async (t) => {
  const app = await buildApp(t)
  app.get('/', async (request) => { await request.getWebSocketAsync({ id: 'x' } as never) })
  await t.rejects(app.injectWebSocketAsync('/'), { message: /with 500: .*FST_WSA_BAD_OPTION.*Invalid option id: .*such as identifier, received 'x'/ })
})

t.test('a mistake in a call that nobody awaits is logged at error level, and the process goes on', async (t) => {
  const { lines, logger } = captureLog()
  const { app, ws, client } = await connect(t, { app: { logger } })
  const calls: [string, () => unknown][] = [
    ['sendAsync', () => ws.sendAsync({ hello: 'world' } as never)],
    ['receiveMessageAsync', () => ws.receiveMessageAsync({ timeout: -1 })],
    ['subscribeAsync', () => ws.subscribeAsync('')],
    ['unsubscribeAsync', () => ws.unsubscribeAsync('')],
    ['pingAsync', () => ws.pingAsync({ timeout: NaN })],
    ['closeAsync', () => ws.closeAsync(1005)],
    ['closeAllAsync', () => app.webSockets.closeAllAsync(1005)],
    ['publishAsync', () => app.webSockets.publishAsync('', 'x')]
  ]
  for (const [name, call] of calls) {
    call() // an unhandled rejection would fail this test
    await nextTurn()
    const errors = lines.splice(0).filter(({ level }) => level === 50)
    t.match(errors, [{ err: { code: /^FST_WSA_INVALID_/, stack: new RegExp(name) }, msg: 'websocket call was refused, and nobody awaited its promise' }], name)
    t.equal(errors.length, 1)
  }
  await client.sendAsync('still open')
  t.equal((await ws.receiveMessageAsync())?.getString(), 'still open')
})

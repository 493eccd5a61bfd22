import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import type { AsyncWebSocket } from '../../../index.js'
import { buildApp, listen } from '../../fixtures/app.js'
import { deferred } from '../../fixtures/deferred.js'
import { fakeClock } from '../../fixtures/fake-clock.js'
import { closeFrame, frame, openRaw } from '../../fixtures/raw-client.js'

t.test('an echo of the ping is not received as a message while the policy runs', async (t) => {
  const app = await buildApp(t)
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    ws.pingPolicy.start({ interval: 60_000, dataMessage: 'ping?' })
    t.equal(ws.pingPolicy.isActive, true)
    t.equal((await ws.receiveMessageAsync())?.getString(), 'ping')
    t.match(await ws.receiveMessageAsync(), { isBinary: true })
    ws.pingPolicy.stop()
    t.equal(ws.pingPolicy.isActive, false)
    await ws.sendAsync('stopped')
    t.equal((await ws.receiveMessageAsync())?.getString(), 'ping?')
  })
  const client = await openRaw(t, await listen(app), '/')
  t.equal(await client.text(), 'ping?', 'the first goes out at once')
  client.write(frame('ping?'), frame('ping'), frame('ping?', { opcode: 2 }))
  t.equal(await client.text(), 'stopped')
  client.write(frame('ping?'))
  t.match(await client.close(), { code: 1000 })
})

t.test('pingPolicy.start() replaces a policy that runs, and no timer is left after the end', async (t) => {
  const app = await buildApp(t)
  const opened = deferred<AsyncWebSocket>()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    ws.pingPolicy.start({ interval: 1, dataMessage: 'first' })
    ws.pingPolicy.start({ interval: 10, dataMessage: 'second' })
    opened.resolve(ws)
    await ws.closed
    t.equal(ws.pingPolicy.isActive, false)
    ws.pingPolicy.start()
    t.equal(ws.pingPolicy.isActive, false, 'a closed connection starts nothing')
  })
  const client = await openRaw(t, await listen(app), '/')
  const texts = []
  for (let i = 0; i < 5; i++) texts.push(await client.text())
  t.same(texts, ['first', 'second', 'second', 'second', 'second'])
  client.write(closeFrame(1000))
  await (await opened.promise).closed
  await app.close()
  t.same(process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout'), [])
})

t.test('pingPolicy sends no new ping while the last is unsent', async (t) => {
  const app = await buildApp(t, { keepAlive: false })
  const opened = deferred<AsyncWebSocket>()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    opened.resolve(ws)
    await ws.closed
  })
  const client = await openRaw(t, await listen(app), '/')
  client.socket.pause()
  const ws = await opened.promise
  const clock = fakeClock(t, ['setInterval', 'clearInterval'])
  const size = 1024 * 1024
  ws.pingPolicy.start({ interval: 1, dataMessage: 'x'.repeat(size) })
  for (let i = 0; i < 50; i++) {
    clock.tick(1)
    await nextTurn()
  }
  t.ok(ws.bufferedBytes > 0 && ws.bufferedBytes < 2 * size, `${ws.bufferedBytes} bytes wait`)
  t.equal(ws.isClosed, false)
  ws.terminate()
})

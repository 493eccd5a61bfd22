import { setImmediate } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { AsyncWebSocket, InjectedWebSocket, WebSocketAsyncOptions } from '../../../index.js'
import { buildApp } from '../../fixtures/app.js'

/** An app whose connections are subscribed to the room in their path. */
async function buildRooms (t: Test, options: WebSocketAsyncOptions = {}) {
  const app = await buildApp(t, options)
  app.get<{ Params: { room: string } }>('/:room', async (request) => {
    const ws = await request.getWebSocketAsync({ identifier: request.id })
    await ws.subscribeAsync(`room/${request.params.room}`)
    await ws.sendAsync('welcome')
    for await (const message of ws) {
      await app.webSockets.publishAsync(`room/${request.params.room}`, message.isBinary ? message.bytes : message.getString(), { except: ws })
    }
  })
  const enter = async (room: number | string) => {
    const client = await app.injectWebSocketAsync(`/${room}`)
    await client.receiveMessageAsync()
    return client
  }
  return { app, enter }
}

async function hear (client: InjectedWebSocket): Promise<string | undefined> {
  return (await client.receiveMessageAsync())?.getString()
}

for (const compression of [false, true]) {
  t.test(`what one connection publishes in a room reaches all others in it, in order${compression ? ', compressed' : ''}`, async (t) => {
    const { enter } = await buildRooms(t, { compression })
    const [ada, bob, eve, mallory] = [await enter(1), await enter(1), await enter(1), await enter(2)]
    for (let i = 0; i < 100; i++) await ada.sendAsync(`text ${i}`)
    await ada.sendAsync(Buffer.from('bytes'))
    for (const client of [bob, eve]) {
      const heard: unknown[] = []
      while (heard.length < 100) heard.push(await hear(client))
      t.same(heard, Array.from(heard, (_, i) => `text ${i}`))
      const last = await client.receiveMessageAsync()
      t.equal(last?.isBinary, true)
      t.equal(last?.getString(), 'bytes')
    }
    await bob.sendAsync('→ bob')
    t.equal(await hear(ada), '→ bob')
    t.equal(await hear(eve), '→ bob')
    t.equal(mallory.tryReceive(), null, 'another room hears nothing')
  })
}

t.test('publishAsync() resolves to how many took the message; a subscription ends with unsubscribeAsync() and with the connection', async (t) => {
  const { app, enter } = await buildRooms(t)
  const [ada, bob] = [await enter(1), await enter(1)]
  const publish = () => app.webSockets.publishAsync('room/1', new TextEncoder().encode('x'))
  t.same(await publish(), { delivered: 2, dropped: 0, bus: 'ok' })
  const [ws] = [...app.webSockets] as [AsyncWebSocket]
  await ws.unsubscribeAsync('room/1')
  t.same(await publish(), { delivered: 1, dropped: 0, bus: 'ok' })
  await bob.closeAsync()
  t.same(await publish(), { delivered: 0, dropped: 0, bus: 'ok' })
  await ada.closeAsync()
  await ws.closed
  await ws.subscribeAsync('room/1')
  t.same(await publish(), { delivered: 0, dropped: 0, bus: 'ok' }, 'one that has ended cannot subscribe')
  t.equal(app.webSockets.topics.size, 0, 'nothing is left of the subscriptions')
})

t.test('a subscription with wildcards receives from every room that matches', async (t) => {
  const { app, enter } = await buildRooms(t)
  app.get('/monitor', async (request) => {
    const ws = await request.getWebSocketAsync()
    await ws.subscribeAsync('room/+', { wildcards: true })
    await ws.sendAsync('welcome')
    await ws.closed
  })
  const monitor = await enter('monitor')
  const ada = await enter(1)
  await ada.sendAsync('hello')
  t.equal(await hear(monitor), 'hello')
})

t.test('a bad topic or bad data is refused before anything is sent', async (t) => {
  const { app, enter } = await buildRooms(t)
  const ada = await enter(1)
  const [ws] = [...app.webSockets] as [AsyncWebSocket]
  const code = 'FST_WSA_INVALID_ARGUMENT'
  await t.rejects(ws.subscribeAsync('room/#'), { code })
  await t.rejects(ws.subscribeAsync(''), { code })
  await t.rejects(ws.unsubscribeAsync(42 as never), { code })
  await t.rejects(app.webSockets.publishAsync('room/+', 'x'), { code })
  await t.rejects(app.webSockets.publishAsync('room/1', 42 as never), { code })
  await t.rejects(app.webSockets.publishAsync('room/1', 'x', { except: 'ada' as never }), { code })
  await t.rejects(app.webSockets.publishAsync('room/1', 'x', null as never), { code })
  await app.webSockets.publishAsync('room/1', 'the only one')
  t.equal(await hear(ada), 'the only one')
})

t.test('subscribeAsync() on the client of injectWebSocketAsync() is refused', async (t) => {
  const { enter } = await buildRooms(t)
  await t.rejects(async () => (await enter(1)).subscribeAsync('room/1'), { code: 'FST_WSA_INVALID_ARGUMENT' })
})

for (const slowConsumer of ['close', 'drop'] as const) {
  t.test(`a subscriber that does not read delays no other; at maxBufferedBytes slowConsumer applies: '${slowConsumer}'`, async (t) => {
    const { app, enter } = await buildRooms(t, { slowConsumer, maxBufferedBytes: 256 * 1024, closeTimeout: 200 })
    const [slow, fast] = [await enter(1), await enter(1)]
    const [slowConnection] = [...app.webSockets] as [AsyncWebSocket]
    slow.pause()
    const text = 'x'.repeat(1024)
    let [delivered, dropped] = [0, 0]
    for (let i = 0; i < 1000; i++) {
      const result = await app.webSockets.publishAsync('room/1', `${i} ${text}`)
      delivered += result.delivered
      dropped += result.dropped
      if (await hear(fast) !== `${i} ${text}`) t.fail('the other subscriber lost something')
      if (i % 100 === 0) await setImmediate()
    }
    t.ok(slowConnection.bufferedBytes <= 256 * 1024 + 2048, `${slowConnection.bufferedBytes} bytes`)
    if (slowConsumer === 'close') {
      t.equal(dropped, 1)
      t.match(await slowConnection.closed, { cause: 'slow-consumer' })
    } else {
      t.equal(delivered + dropped, 2000)
      t.ok(dropped > 0, `${dropped} dropped`)
      slow.resume()
      let heard = 0
      while ((await slow.receiveMessageAsync({ timeout: 200 })) !== null) heard++
      t.equal(heard, 1000 - dropped, 'all that was not dropped comes')
    }
  })
}

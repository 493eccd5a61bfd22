import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import type { AsyncWebSocket, CloseInfo } from '../../../index.js'
import { buildApp, listen } from '../../fixtures/app.js'
import { deferred } from '../../fixtures/deferred.js'
import { captureLog } from '../../fixtures/log.js'
import { measureMemory, MiB } from '../../fixtures/memory.js'
import { openRaw } from '../../fixtures/raw-client.js'
import { untilSteady } from '../../fixtures/wait.js'

const TOTAL = 1024 * MiB
const SIZE = 256 * 1024

for (const slowConsumer of ['close', 'drop'] as const) {
  for (const isAwaited of [true, false]) {
    t.test(`1 GiB, ${isAwaited ? '' : 'not '}awaited, for a client that never reads stays within maxBufferedBytes, slowConsumer: '${slowConsumer}'`, async (t) => {
      const { lines, logger } = captureLog()
      const app = await buildApp(t, { app: { logger }, slowConsumer, closeTimeout: 300 })
      const ended = deferred<CloseInfo>()
      const looped = deferred()
      const results: boolean[] = []
      const opened = deferred<AsyncWebSocket>()
      app.get('/', async (request) => {
        const ws = await request.getWebSocketAsync()
        opened.resolve(ws)
        const calls: Promise<unknown>[] = []
        for (let sent = 0; sent < TOTAL; sent += SIZE) {
          const call = ws.sendAsync(Buffer.alloc(SIZE)).then((isSent) => results.push(isSent))
          calls.push(call)
          if (isAwaited) await call
          else if (sent % (64 * SIZE) === 0) await nextTurn()
          if (ws.isClosed) break
        }
        looped.resolve()
        await Promise.all(calls)
        ended.resolve(await ws.closed)
      })
      const before = await measureMemory()
      const client = await openRaw(t, await listen(app), '/')
      client.socket.pause()
      const ws = await opened.promise
      await (isAwaited ? untilSteady('what was handed over', () => results.length, 300) : looped.promise)
      const after = await measureMemory()
      t.ok(after.used - before.used < 48 * MiB, `${((after.used - before.used) / MiB).toFixed(1)} MiB more in use`)
      t.ok(ws.bufferedBytes <= 17 * MiB, `${ws.bufferedBytes} bytes wait`)

      if (isAwaited) {
        t.equal(ws.isClosed, false, 'the handler waits: that is back-pressure')
        ws.terminate()
      } else if (slowConsumer === 'drop') {
        t.equal(ws.isClosed, false)
        ws.terminate()
      }
      const info = await ended.promise
      const sent = results.filter(Boolean).length
      const dropped = (lines.find(({ msg }) => msg === 'websocket closed')?.sent as { dropped: number }).dropped
      t.comment(`${sent} sent, ${dropped} dropped, ${info.unsent} unsent, closed with ${info.code} (${info.cause})`)
      if (isAwaited) {
        t.match(info, { code: 1006, cause: 'terminated', unsent: 0 })
        t.equal(dropped, 0)
        t.equal(results.at(-1), false, 'the call that waited')
      } else if (slowConsumer === 'close') {
        t.match(info, { code: 1013, cause: 'slow-consumer', wasClean: false })
        t.equal(dropped, 1)
        t.ok(info.unsent > 0)
      } else {
        t.match(info, { code: 1006, cause: 'terminated' })
        t.equal(results.length, TOTAL / SIZE)
        t.ok(dropped > 3500, `${dropped} dropped`)
        t.ok(info.unsent > 0)
      }
    })
  }
}

t.test('a client that reads slowly gets everything, in order, and the sender waits for it', async (t) => {
  const app = await buildApp(t)
  let handedOver = 0
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    for (let i = 0; i < 200; i++) {
      const data = Buffer.alloc(SIZE)
      data.writeUInt32BE(i)
      t.equal(await ws.sendAsync(data), true)
      handedOver++
    }
  })
  const client = await openRaw(t, await listen(app), '/')
  client.socket.pause()
  await untilSteady('what was handed over', () => handedOver, 100)
  t.ok(handedOver < 100, `${handedOver} handed over`)
  client.socket.resume()
  for (let i = 0; i < 200; i++) {
    const { payload } = await client.frame()
    if (payload.readUInt32BE() !== i) t.fail(`message ${i}`)
  }
  t.match(await client.close(), { code: 1000 })
})

t.test('closeAsync() sends messages that wait before its close frame', async (t) => {
  const app = await buildApp(t)
  const results = deferred<boolean[]>()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    const calls = Array.from({ length: 20 }, () => ws.sendAsync(Buffer.alloc(SIZE)))
    ws.closeAsync(4000)
    t.equal(await ws.sendAsync('too late'), false)
    results.resolve(Promise.all(calls))
  })
  const client = await openRaw(t, await listen(app), '/')
  for (let i = 0; i < 20; i++) t.equal((await client.frame()).payload.length, SIZE)
  t.match(await client.close(), { code: 4000 })
  t.ok((await results.promise).every(Boolean))
})

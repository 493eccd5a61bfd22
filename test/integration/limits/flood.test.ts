import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import type { CloseInfo, WebSocketMessage } from '../../../index.js'
import { buildApp, listen } from '../../fixtures/app.js'
import { deferred } from '../../fixtures/deferred.js'
import { measureMemory, MiB } from '../../fixtures/memory.js'
import { frame, openRaw } from '../../fixtures/raw-client.js'
import { everyMs } from '../../fixtures/wait.js'

const FLOOD_MS = Number(process.env.FLOOD_MS ?? 10_000)

async function startFlood (t: Test, port: number, path: string, size: number) {
  const child = spawn(process.execPath, [fileURLToPath(new URL('../../fixtures/processes/flood.mjs', import.meta.url)), `${port}`, path, `${size}`, `${FLOOD_MS}`])
  t.teardown(() => child.kill('SIGKILL'))
  const written = once(child.stdout, 'data').then(([line]) => Number(line))
  return { written, close: () => child.stdin.write('close') }
}

/** Round trips on a connection of its own, until told to stop. */
async function measureRoundTrips (t: Test, port: number) {
  const client = await openRaw(t, port, '/echo')
  const times: number[] = []
  const state = { isDone: false }
  const loop = (async () => {
    for await (const _ of everyMs(20)) {
      if (state.isDone) break
      const start = performance.now()
      client.write(frame('x'))
      await client.text()
      times.push(performance.now() - start)
    }
  })()
  return async () => {
    state.isDone = true
    await loop
    return times.sort((a, b) => a - b)
  }
}

for (const size of [1, MiB]) {
  t.test(`a flood of ${size}-byte messages to a handler that reads one a second is held back, in order, and slows no other connection`, { timeout: 120_000 }, async (t) => {
    const app = await buildApp(t, { app: { bodyLimit: MiB } })
    const mayDrain = deferred()
    const drained = deferred<{ count: number, gap: number | null, info: CloseInfo }>()
    app.get('/echo', async (request) => {
      const ws = await request.getWebSocketAsync()
      for await (const message of ws) await ws.sendAsync(message.getString())
    })
    app.get('/slow', async (request) => {
      const ws = await request.getWebSocketAsync()
      let count = 0
      let gap: number | null = null
      const take = (message: WebSocketMessage) => {
        if (message.bytes[0] !== (count & 0xff)) gap ??= count
        count++
      }
      const pace = { isSlow: true }
      mayDrain.promise.then(() => { pace.isSlow = false })
      for await (const _ of everyMs(1000)) {
        if (!pace.isSlow) break
        const message = await ws.receiveMessageAsync()
        if (message !== null) take(message)
      }
      for await (const message of ws) take(message)
      drained.resolve({ count, gap, info: await ws.closed })
    })
    const port = await listen(app)
    const before = await measureMemory()
    const stop = await measureRoundTrips(t, port)

    const flood = await startFlood(t, port, '/slow', size)
    const written = await flood.written
    const times = await stop()
    const after = await measureMemory()
    const used = (after.used - before.used) / MiB
    const rss = (after.rss - before.rss) / MiB
    const p50 = times[Math.floor(times.length / 2)] as number
    const p99 = times[Math.floor(times.length * 0.99)] as number
    t.comment(`written ${written}; used +${used.toFixed(1)} MiB, RSS +${rss.toFixed(1)} MiB; round trip p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(1)} ms, worst ${times.at(-1)?.toFixed(1)} ms of ${times.length}`)
    t.ok(used < 16, `${used} MiB more in use`)
    t.ok(rss < 64, `${rss} MiB more resident`)
    t.ok(p99 < 50, `the other connection's round trip: p99 ${p99} ms`)

    mayDrain.resolve()
    flood.close()
    const { count, gap, info } = await drained.promise
    t.equal(gap, null, 'in order')
    t.ok(count >= written - 4096 && count <= written + 4096, `${count} of ${written} delivered`)
    t.match(info, { code: 1000, cause: 'peer', unread: 0 })
  })
}

import { execFileSync, spawn } from 'node:child_process'
import { on, once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { frame, openRaw, type RawClient } from '../../fixtures/raw-client.js'

const TOTAL = Number(process.env.CONNECTIONS ?? 5000)
const STUBBORN = 50
const BUSY = 50

const limit = Number(execFileSync('sh', ['-c', 'ulimit -n']).toString().replace('unlimited', 'Infinity'))
const skip = limit < TOTAL + 200 ? `${TOTAL} connections need "ulimit -n ${TOTAL + 200}" or more; it is ${limit}` : false

async function startServer (t: Test, options: object) {
  const server = fileURLToPath(new URL('../../fixtures/processes/shutdown-server.ts', import.meta.url))
  const child = spawn(process.execPath, ['--import', 'tsx', server, JSON.stringify(options)], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const lines = on(createInterface({ input: child.stdout }), 'line')
  const hear = async (): Promise<string> => (await lines.next()).value[0]
  const port = Number(new URL(await hear()).port)
  return { child, port, hear }
}

async function connect (port: number, path: string, count: number): Promise<WebSocket[]> {
  const sockets: WebSocket[] = []
  while (sockets.length < count) {
    const batch = Array.from({ length: Math.min(100, count - sockets.length) }, () => new WebSocket(`ws://127.0.0.1:${port}${path}`))
    await Promise.all(batch.map((socket) => once(socket, 'open')))
    sockets.push(...batch)
  }
  return sockets
}

t.test(`SIGTERM with ${TOTAL} connections open ends them all with 1001, and the process exits by itself`, { skip, timeout: 120_000 }, async (t) => {
  for (const spread of [0, 2000]) {
    await t.test(`shutdown.spread: ${spread}`, async (t) => {
      const timeout = 6000
      const { child, port, hear } = await startServer(t, { shutdown: { spread, grace: 3000, timeout } })
      const idle = await connect(port, '/idle', TOTAL - STUBBORN - BUSY)
      const busy = await connect(port, '/busy', BUSY)
      const stubborn: RawClient[] = []
      for (let i = 0; i < STUBBORN; i++) stubborn.push(await openRaw(t, port, '/idle'))

      const closes = [...idle, ...busy].map(async (socket) => (await once(socket, 'close'))[0] as number)
      await Promise.all(busy.map((socket) => {
        socket.send('work')
        return once(socket, 'message') // it has begun
      }))
      const replies: string[] = []
      for (const socket of busy) {
        socket.on('message', (data) => {
          t.equal(socket.readyState, WebSocket.OPEN, 'the reply comes before the close')
          replies.push(data.toString())
        })
      }

      const start = performance.now()
      child.kill('SIGTERM')
      const [line, [exitCode]] = await Promise.all([hear(), once(child, 'exit')])
      const took = performance.now() - start
      const codes = await Promise.all(closes)

      const { handlers, turns } = JSON.parse(line) as { handlers: number, turns: number[] }
      t.equal(handlers, 0, 'every handler had ended before the onClose hooks')
      t.equal(exitCode, 0, 'the process exits by itself')
      t.ok(took < timeout + 2000, `after ${took} ms`)
      t.same([...new Set(codes)], [1001])
      t.equal(replies.length, BUSY)
      t.ok(replies.every((reply) => reply === 'done work'))
      if (spread > 0) {
        const quarters = [0, 1, 2, 3].map((quarter) =>
          turns.filter((at) => at >= quarter * spread / 4 && at < (quarter + 1) * spread / 4).length / turns.length)
        t.comment(`took their turn in each quarter: ${quarters.map((share) => share.toFixed(2)).join(', ')}`)
        // A busy machine is late with some turns: test/app/shutdown.test.ts has the exact times, on a fake clock
        for (const share of quarters) t.ok(share < 0.7, 'not all at once')
        t.ok(Math.max(...turns) >= spread * 3 / 4, 'and the last of them late')
      }
      t.comment(`exited after ${took.toFixed(0)} ms`)
      for (const client of stubborn) client.write(frame('still here?'))
    })
  }
})

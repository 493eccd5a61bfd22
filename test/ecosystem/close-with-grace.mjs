// close-with-grace gives a process 10 s: with our defaults the app closes within them, whatever the clients and the handlers do
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import closeWithGrace from 'close-with-grace'
import Fastify from 'fastify'
import websocketAsync from 'fastify-websocket-async'
import { open } from './app.mjs'

if (process.argv[2] === 'server') await serve()
else await stopServer()

async function serve () {
  const app = Fastify()
  await app.register(websocketAsync)
  app.addHook('onClose', async () => console.log('onClose'))
  app.get('/echo', async (request) => {
    const ws = await request.getWebSocketAsync()
    for await (const message of ws) await ws.sendAsync(message.getString())
  })
  app.get('/never-ends', async (request) => {
    await request.getWebSocketAsync()
    await new Promise(() => {})
  })
  closeWithGrace(async () => { await app.close() })
  console.log(await app.listen({ port: 0, host: '127.0.0.1' }))
}

async function stopServer () {
  const server = spawn(process.execPath, [fileURLToPath(import.meta.url), 'server'], { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  const [line] = await once(server.stdout, 'data')
  server.stdout.on('data', (chunk) => { output += chunk })
  const url = String(line).trim().replace('http', 'ws')
  const polite = await open(`${url}/echo`)
  const deaf = await open(`${url}/never-ends`)
  deaf.pause() // it never sees the close frame
  server.kill('SIGTERM')
  const [code] = await once(polite, 'close')
  const [status, signal] = await once(server, 'close')
  assert.equal(code, 1001)
  assert.deepEqual({ status, signal, output }, { status: 0, signal: null, output: 'onClose\n' })
  deaf.terminate()
}

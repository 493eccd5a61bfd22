// createWebSocketStream of ws takes messages from the socket by itself, in an awaitable handler too
import { once } from 'node:events'
import { pipeline } from 'node:stream/promises'
import { createWebSocketStream } from 'ws'
import { QUIET, open, until, withApp } from './app.mjs'

const MESSAGES = 300

function declare (app) {
  app.get('/echo', async (request) => {
    const ws = await request.getWebSocketAsync()
    const stream = createWebSocketStream(ws.socket)
    await pipeline(stream, stream)
  })
}

await withApp(declare, async (url) => {
  const client = await open(`${url}/echo`)
  const stream = createWebSocketStream(client, { encoding: 'utf8' })
  let received = ''
  stream.on('data', (text) => { received += text })
  for (let i = 0; i < MESSAGES; i++) {
    received = ''
    stream.write(`message ${i}`)
    await until(stream, 'data', () => received === `message ${i}`)
  }
  stream.end()
  await once(client, 'close')
}, QUIET)

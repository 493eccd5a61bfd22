// @fastify/otel begins a span for each request and ends it in onSend, or in an onResponse hook: a connection has the latter
import assert from 'node:assert/strict'
import { FastifyOtelInstrumentation } from '@fastify/otel'
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'
import { next, open, until, withApp } from './app.mjs'

const exporter = new InMemorySpanExporter()
const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
const instrumentation = new FastifyOtelInstrumentation()
instrumentation.setTracerProvider(provider)

async function declare (app) {
  await app.register(instrumentation.plugin())
  app.get('/chat', async (request) => {
    const ws = await request.getWebSocketAsync()
    for await (const message of ws) await ws.sendAsync(`echo ${message.getString()}`)
  })
}

function requestSpans () {
  return exporter.getFinishedSpans().filter(({ name }) => name === 'request')
}

await withApp(declare, async (url, app) => {
  const client = await open(`${url}/chat`)
  client.send('hello')
  assert.equal(await next(client), 'echo hello')
  assert.equal(requestSpans().length, 0)
  client.close()
  await until(app.webSockets, 'close', () => app.webSockets.size === 0)
})
const spans = requestSpans()
assert.equal(spans.length, 1)
assert.equal(spans[0].attributes['http.route'], '/chat')
assert.equal(spans[0].attributes['http.response.status_code'], 101)

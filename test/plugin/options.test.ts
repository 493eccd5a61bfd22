import Fastify from 'fastify'
import t from 'tap'
import websocketAsync, { fastifyWebSocketAsync, type WebSocketAsyncOptions } from '../../index.js'
import { readOptions } from '../../lib/plugin/options.js'

t.test('the defaults', async (t) => {
  const settings = readOptions({}, 1000)
  t.match(settings, {
    receiveTimeout: Infinity,
    upgradeTimeout: 10_000,
    shutdown: { code: 1001, reason: 'server shutting down', grace: 5_000, timeout: 8_000, spread: 0 },
    maxConnections: Infinity,
    receiveLimits: { highWater: { messages: 64, bytes: 1024 * 1024 } },
    sendLimits: { highWaterMark: 64 * 1024, maxBufferedBytes: 16 * 1024 * 1024 },
    slowConsumer: 'close',
    duplicateIdentifier: 'replace',
    keepAlive: { interval: 25_000, timeout: 20_000 },
    server: { maxPayload: 1000, closeTimeout: 10_000, perMessageDeflate: false }
  })
  t.ok(Object.isFrozen(settings))
  const { origin, ...others } = settings
  t.type(origin, 'function')
  const names = ['origin', 'maxConnections', 'receiveHighWaterMark', 'keepAlive', 'receiveTimeout', 'shutdown', 'compression', 'options', 'maxPayload']
  t.match(readOptions(Object.fromEntries(names.map((name) => [name, undefined])), 1000), others)
})

t.test('a shorter shutdown.timeout alone shortens shutdown.grace', async (t) => {
  t.match(readOptions({ shutdown: { timeout: 100 } }, 1), { shutdown: { grace: 100, timeout: 100 } })
  t.match(readOptions({ shutdown: { timeout: 100, spread: 60 } }, 1), { shutdown: { grace: 40, timeout: 100, spread: 60 } })
})

t.test('options of ws count where ours are not given', async (t) => {
  t.match(readOptions({ options: { maxPayload: 5, perMessageDeflate: { threshold: 1 }, skipUTF8Validation: true } }, 1), {
    server: { maxPayload: 5, perMessageDeflate: { threshold: 1 }, skipUTF8Validation: true }
  })
})

t.test('the fragments and the pieces of a message are limited by maxPayload, unless options of ws say otherwise', async (t) => {
  t.match(readOptions({}, 1024 * 1024), { server: { maxFragments: 2048, maxBufferedChunks: 2048, maxPendingAutoPongs: 10_923 } })
  t.match(readOptions({ maxPayload: 16 * 1024 * 1024 }, 1), { server: { maxFragments: 32_768, maxBufferedChunks: 32_768 } })
  t.match(readOptions({ maxPayload: 1 }, 1), { server: { maxFragments: 64, maxBufferedChunks: 1024 } })
  const own = { maxFragments: 5, maxBufferedChunks: 6, maxPendingAutoPongs: 7 }
  t.match(readOptions({ options: own }, 1000), { server: own })
  t.match(readOptions({ options: { maxFragments: undefined } }, 1000), { server: { maxFragments: 64 } })
})

t.test('a bad option is refused at registration, by its name and its value', async (t) => {
  const bad: [object, RegExp][] = [
    [{ receiveTimeout: NaN }, /receiveTimeout.*NaN/],
    [{ receiveTimeout: -1 }, /receiveTimeout.*-1/],
    [{ upgradeTimeout: '5' }, /upgradeTimeout.*'5'/],
    [{ closeTimeout: 2 ** 31 }, /closeTimeout.*2147483648/],
    [{ closeTimeout: Infinity }, /closeTimeout.*Infinity/],
    [{ shutdown: null }, /shutdown.*null/],
    [{ shutdown: { code: 1006 } }, /1006/],
    [{ shutdown: { reason: 'x'.repeat(124) } }, /124 bytes/],
    [{ shutdown: { timeout: Infinity } }, /shutdown.timeout.*Infinity/],
    [{ shutdown: { grace: 20, timeout: 10 } }, /shutdown.*10.*grace: 20/],
    [{ shutdown: { spread: 6, grace: 5, timeout: 10 } }, /shutdown.*10.*spread: 6/],
    [{ shutdown: { spread: 20, timeout: 10 } }, /shutdown.*10.*spread: 20/],
    [{ origin: 'example.com' }, /origin.*'example.com'/],
    [{ origin: 'https://*.example.com/path' }, /origin/],
    [{ origin: ['https://a.example', 5] }, /origin.*5/],
    [{ maxConnections: 0 }, /maxConnections.*0/],
    [{ receiveHighWaterMark: 5 }, /receiveHighWaterMark.*5/],
    [{ receiveHighWaterMark: { messages: -1 } }, /receiveHighWaterMark.messages.*-1/],
    [{ receiveHighWaterMark: { bytes: NaN } }, /receiveHighWaterMark.bytes.*NaN/],
    [{ sendHighWaterMark: 0 }, /sendHighWaterMark.*0/],
    [{ maxBufferedBytes: '1' }, /maxBufferedBytes.*'1'/],
    [{ slowConsumer: 'wait' }, /slowConsumer.*'wait'/],
    [{ duplicateIdentifier: 'keep' }, /duplicateIdentifier.*'keep'/],
    [{ pubsub: 'redis' }, /pubsub.*'redis'/],
    [{ pubsub: { on () {}, emit () {} } }, /pubsub.*MQEmitter/],
    [{ keepAlive: true }, /keepAlive.*true/],
    [{ keepAlive: { interval: 0 } }, /keepAlive.interval.*0/],
    [{ keepAlive: { timeout: Infinity } }, /keepAlive.timeout.*Infinity/],
    [{ closeTimeout: 5, options: { closeTimeout: 6 } }, /options.closeTimeout.*6/],
    [{ shutdown: { timeout: 86_400_000 } }, /shutdown.timeout.*pluginTimeout.*86400000/],
    [{ maxPayload: 0 }, /maxPayload.*0/],
    [{ maxPayload: 1.5 }, /maxPayload.*1.5/],
    [{ maxPayload: 2 ** 31 }, /maxPayload.*2147483648/],
    [{ maxPayload: 1, options: { maxPayload: 2 } }, /options.maxPayload.*2/],
    [{ compression: 'yes' }, /compression.*'yes'/],
    [{ compression: true, options: { perMessageDeflate: true } }, /options.perMessageDeflate/],
    [{ options: { clientTracking: false } }, /options.clientTracking.*false/],
    [{ options: { noServer: true } }, /options.noServer.*true/],
    [{ errorHandler: 5 }, /errorHandler.*5/],
    [{ preClose: {} }, /preClose/],
    [{ maxPayLoad: 5 }, /maxPayLoad.*such as maxPayload.*5/],
    [{ toString: 5 }, /toString.*known name/],
    [{ keepAlive: { intervall: 5 } }, /keepAlive.intervall.*such as interval.*5/],
    [{ shutdown: { graceTime: 5 } }, /shutdown.graceTime.*such as grace,.*5/],
    [{ receiveHighWaterMark: { message: 5 } }, /receiveHighWaterMark.message: .*such as messages/]
  ]
  for (const [options, message] of bad) {
    const app = Fastify()
    const registered = app.register(websocketAsync, options as WebSocketAsyncOptions)
    await t.rejects(Promise.resolve(registered).then(() => app.ready()), { code: /^FST_WSA_(BAD_OPTION|INVALID_CLOSE)$/, message }, JSON.stringify(options))
    await app.close()
  }
})

t.test('what app.register() takes for itself is no unknown option', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(websocketAsync, { prefix: '/ws', logLevel: 'warn', logSerializers: {} })
  t.ok(app.webSockets)
})

t.test('a bodyLimit beyond what ws can hold is the largest that it can', async (t) => {
  t.equal(readOptions({}, 2 ** 40).server.maxPayload, 2 ** 31 - 1)
})

t.test('keepAlive: false turns it off', async (t) => {
  t.equal(readOptions({ keepAlive: false }, 1).keepAlive, null)
})

t.test('the plugin has a name, and is exported by it too', async (t) => {
  t.equal(fastifyWebSocketAsync, websocketAsync)
  const app = Fastify()
  await app.register(websocketAsync)
  t.ok(app.hasPlugin('fastify-websocket-async'))
  await app.close()
})

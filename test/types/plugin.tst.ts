import Fastify, { type FastifyRequest } from 'fastify'
import { describe, expect, test } from 'tstyche'
import type { WebSocket } from 'ws'
import websocketAsync, { fastifyWebSocketAsync, type ShutdownOptions, type WebSocketAsyncOptions } from '../../index.js'

const app = Fastify()

describe('the plugin', () => {
  test('is one function under both names', () => {
    expect(fastifyWebSocketAsync).type.toBe<typeof websocketAsync>()
  })

  test('is registered without options, or with a function that gives them', () => {
    expect(app.register).type.toBeCallableWith(websocketAsync)
    expect(app.register).type.toBeCallableWith(websocketAsync, {})
    expect(app.register).type.toBeCallableWith(websocketAsync, () => ({ maxPayload: 1024 }))
  })

  test('is registered on an app with another type of server', () => {
    expect(Fastify({ http2: true }).register).type.toBeCallableWith(websocketAsync)
    expect(Fastify({ https: {} }).register).type.toBeCallableWith(websocketAsync, { maxPayload: 1024 })
  })
})

describe('the options', () => {
  test('are all optional', () => {
    expect<WebSocketAsyncOptions>().type.toBeAssignableFrom<{}>()
    expect<ShutdownOptions>().type.toBeAssignableFrom<{}>()
  })

  test('may be explicitly undefined', () => {
    expect<WebSocketAsyncOptions>().type.toBeAssignableFrom<Record<keyof WebSocketAsyncOptions, undefined>>()
    expect<ShutdownOptions>().type.toBeAssignableFrom<Record<keyof ShutdownOptions, undefined>>()
  })

  test('have the types that they are checked for', () => {
    app.register(websocketAsync, {
      maxPayload: 1024,
      receiveTimeout: Infinity,
      upgradeTimeout: 5_000,
      closeTimeout: 5_000,
      shutdown: { code: 1012, reason: 'restart', grace: 100, timeout: 200 },
      compression: { threshold: 1024 },
      options: { verifyClient: () => true },
      errorHandler (error, socket, request) {
        expect(error).type.toBe<Error>()
        expect(socket).type.toBe<WebSocket>()
        expect(request).type.toBe<FastifyRequest>()
      },
      preClose (done) {
        expect(done).type.toBeCallableWith()
      }
    })
    expect(app.register).type.toBeCallableWith(websocketAsync, { compression: true })
    expect(app.register).type.toBeCallableWith(websocketAsync, { preClose: async () => {} })
  })

  test('of a wrong type are refused', () => {
    expect(app.register).type.not.toBeCallableWith(websocketAsync, { maxPayload: '1mb' })
    expect(app.register).type.not.toBeCallableWith(websocketAsync, { receiveTimeout: '30s' })
    expect(app.register).type.not.toBeCallableWith(websocketAsync, { closeTimeout: null })
    expect(app.register).type.not.toBeCallableWith(websocketAsync, { compression: 'deflate' })
    expect(app.register).type.not.toBeCallableWith(websocketAsync, { shutdown: { code: '1001' } })
    expect(app.register).type.not.toBeCallableWith(websocketAsync, { errorHandler: true })
  })

  test('that do not exist are refused', () => {
    expect(websocketAsync).type.not.toBeCallableWith(app, { maxPayloads: 1024 })
    expect(websocketAsync).type.not.toBeCallableWith(app, { shutdown: { graceful: true } })
    expect(websocketAsync).type.not.toBeCallableWith(app, { options: { path: '/ws' } })
    expect(app.register).type.not.toBeCallableWith(websocketAsync, { maxPayloads: 1024 })
    expect(app.register).type.not.toBeCallableWith(websocketAsync, { shutdown: { graceful: true } })
  })

  test('cannot be changed after they were made', () => {
    const options: WebSocketAsyncOptions = {}
    // @ts-expect-error Cannot assign to 'maxPayload' because it is a read-only property
    options.maxPayload = 1
  })
})

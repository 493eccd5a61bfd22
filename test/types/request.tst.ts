import Fastify, { type FastifyRequest } from 'fastify'
import { describe, expect, test } from 'tstyche'
import type { WebSocket } from 'ws'
import type { AcceptOptions, AsyncWebSocket } from '../../index.js'

const app = Fastify()
declare const request: FastifyRequest

describe('request.isWebSocketUpgrade', () => {
  test('is a boolean, in a handler and in a hook', () => {
    expect(request.isWebSocketUpgrade).type.toBe<boolean>()
    app.addHook('onRequest', async (request) => {
      expect(request.isWebSocketUpgrade).type.toBe<boolean>()
    })
  })

  test('is read-only', () => {
    expect<FastifyRequest>().type.toBeAssignableTo<{ readonly isWebSocketUpgrade: boolean }>()
    // @ts-expect-error Cannot assign to 'isWebSocketUpgrade' because it is a read-only property
    request.isWebSocketUpgrade = true
  })
})

describe('request.getWebSocketAsync()', () => {
  test('resolves to the connection', () => {
    expect(request.getWebSocketAsync()).type.toBe<Promise<AsyncWebSocket>>()
  })

  test('takes a subprotocol and headers, also explicitly undefined', () => {
    expect(request.getWebSocketAsync).type.toBeCallableWith({})
    expect(request.getWebSocketAsync).type.toBeCallableWith(undefined)
    expect(request.getWebSocketAsync).type.toBeCallableWith({ subprotocol: 'chat' })
    expect(request.getWebSocketAsync).type.toBeCallableWith({ headers: { 'set-cookie': ['a=1', 'b=2'], 'x-count': 1 } })
    expect(request.getWebSocketAsync).type.toBeCallableWith({ subprotocol: undefined, headers: undefined })
    expect<AcceptOptions>().type.toBeAssignableFrom<Record<keyof AcceptOptions, undefined>>()
  })

  test('refuses wrong and unknown options', () => {
    expect(request.getWebSocketAsync).type.not.toBeCallableWith('chat')
    expect(request.getWebSocketAsync).type.not.toBeCallableWith({ subprotocol: ['chat'] })
    expect(request.getWebSocketAsync).type.not.toBeCallableWith({ headers: 'set-cookie: a=1' })
    expect(request.getWebSocketAsync).type.not.toBeCallableWith({ protocol: 'chat' })
  })

  test('is there where the request has types of its own', () => {
    app.get<{ Querystring: { room: string } }>('/rooms', async (request) => {
      expect(request.query.room).type.toBe<string>()
      expect(request.getWebSocketAsync()).type.toBe<Promise<AsyncWebSocket>>()
    })
  })

  test('leaves the handler free to answer instead', () => {
    app.get('/both', async (request, reply) => {
      if (!request.isWebSocketUpgrade) return reply.code(404).send({ error: 'no' })
      const ws = await request.getWebSocketAsync()
      return ws.closeAsync()
    })
  })
})

describe('a route as in @fastify/websocket', () => {
  test('with `websocket: true` has the socket first', () => {
    app.get('/events', { websocket: true }, (socket, request) => {
      expect(socket).type.toBe<WebSocket>()
      expect(request.getWebSocketAsync()).type.toBe<Promise<AsyncWebSocket>>()
    })
    app.route({
      method: 'GET',
      url: '/route',
      websocket: true,
      handler: (socket) => {
        expect(socket).type.toBe<WebSocket>()
      }
    })
  })

  test('with `wsHandler` has a handler for each', () => {
    app.route({
      method: 'GET',
      url: '/split',
      handler: async (_request, reply) => {
        expect(reply.sent).type.toBe<boolean>()
      },
      wsHandler: (socket) => {
        expect(socket).type.toBe<WebSocket>()
      }
    })
  })

  test('without either has the request first', () => {
    app.get('/plain', async (request) => {
      expect(request).type.toBeAssignableTo<FastifyRequest>()
    })
  })
})

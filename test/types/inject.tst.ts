import Fastify from 'fastify'
import { describe, expect, test } from 'tstyche'
import { InjectRefusedError, type CloseInfo, type InjectedWebSocket, type WebSocketMessage } from '../../index.js'

const app = Fastify()

describe('injectWebSocketAsync()', () => {
  test('takes a path and options, each of which may be undefined', () => {
    expect(app.injectWebSocketAsync).type.toBeCallableWith('/')
    expect(app.injectWebSocketAsync).type.toBeCallableWith('/', { headers: { a: 'b' }, subprotocols: ['a'], remoteAddress: '10.0.0.1' })
    expect(app.injectWebSocketAsync).type.toBeCallableWith('/', { headers: undefined, subprotocols: undefined, remoteAddress: undefined })
    expect(app.injectWebSocketAsync).type.not.toBeCallableWith()
  })

  test('gives a client that is awaited as the connection of the server is', async () => {
    const client = await app.injectWebSocketAsync('/')
    expect(client).type.toBe<InjectedWebSocket>()
    expect(client.receiveMessageAsync()).type.toBe<Promise<WebSocketMessage | null>>()
    expect(client.closed).type.toBe<Promise<CloseInfo>>()
    expect(client.request).type.toBe<never>()
    client.pause()
    client.halfClose()
    client.ignoreClose()
  })

  test('rejects with what the server answered', () => {
    expect<InjectRefusedError['statusCode']>().type.toBe<number>()
    expect<InjectRefusedError['body']>().type.toBe<string>()
  })
})

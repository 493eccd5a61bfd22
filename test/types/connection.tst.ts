import type { FastifyRequest } from 'fastify'
import { describe, expect, test } from 'tstyche'
import type { WebSocket } from 'ws'
import type {
  AsyncWebSocket, CancelOptions, CloseCause, CloseInfo, PingPolicy, PingPolicyOptions, Sendable, SendOptions,
  WebSocketData, WebSocketMessage
} from '../../index.js'
import { WebSocketCloseError } from '../../index.js'

declare const ws: AsyncWebSocket
declare const message: WebSocketMessage

describe('receiveMessageAsync()', () => {
  test('resolves to a message or to null', () => {
    expect(ws.receiveMessageAsync()).type.toBe<Promise<WebSocketMessage | null>>()
  })

  test('takes a timeout and a signal, also explicitly undefined', () => {
    expect(ws.receiveMessageAsync).type.toBeCallableWith({ timeout: 30_000, signal: AbortSignal.abort() })
    expect(ws.receiveMessageAsync).type.toBeCallableWith({ signal: ws.signal })
    expect<CancelOptions>().type.toBeAssignableFrom<Record<keyof CancelOptions, undefined>>()
  })

  test('refuses wrong and unknown options', () => {
    expect(ws.receiveMessageAsync).type.not.toBeCallableWith(30_000)
    expect(ws.receiveMessageAsync).type.not.toBeCallableWith({ timeout: '30s' })
    expect(ws.receiveMessageAsync).type.not.toBeCallableWith({ signal: new AbortController() })
    expect(ws.receiveMessageAsync).type.not.toBeCallableWith({ timeOut: 30_000 })
  })

  test('is narrowed by the loop of the README', async () => {
    let message
    while ((message = await ws.receiveMessageAsync()) !== null) {
      expect(message).type.toBe<WebSocketMessage>()
    }
  })
})

describe('iteration', () => {
  test('gives messages', async () => {
    for await (const message of ws) expect(message).type.toBe<WebSocketMessage>()
    expect(ws).type.toBeAssignableTo<AsyncIterable<WebSocketMessage>>()
  })

  test('is not synchronous', () => {
    expect(ws).type.not.toBeAssignableTo<Iterable<WebSocketMessage>>()
  })
})

describe('sendAsync()', () => {
  test('resolves to whether the message went out', () => {
    expect(ws.sendAsync('text')).type.toBe<Promise<boolean>>()
  })

  test('takes text and every kind of bytes', () => {
    expect<Sendable>().type.toBeAssignableFrom<string>()
    expect<Sendable>().type.toBeAssignableFrom<Buffer>()
    expect<Sendable>().type.toBeAssignableFrom<Uint8Array>()
    expect<Sendable>().type.toBeAssignableFrom<Float64Array>()
    expect<Sendable>().type.toBeAssignableFrom<DataView>()
    expect<Sendable>().type.toBeAssignableFrom<ArrayBuffer>()
    expect(ws.sendAsync).type.toBeCallableWith(message.bytes)
  })

  test('refuses what is no message', () => {
    expect(ws.sendAsync).type.not.toBeCallableWith()
    expect(ws.sendAsync).type.not.toBeCallableWith(42)
    expect(ws.sendAsync).type.not.toBeCallableWith(null)
    expect(ws.sendAsync).type.not.toBeCallableWith({ hello: 'world' })
    expect(ws.sendAsync).type.not.toBeCallableWith(['a', 'b'])
  })

  test('takes options, also explicitly undefined, and refuses others', () => {
    expect(ws.sendAsync).type.toBeCallableWith('text', { timeout: 0, signal: ws.signal, compress: false })
    expect<SendOptions>().type.toBeAssignableFrom<Record<keyof SendOptions, undefined>>()
    expect(ws.sendAsync).type.not.toBeCallableWith('text', { compress: 'yes' })
    expect(ws.sendAsync).type.not.toBeCallableWith('text', { binary: true })
  })
})

describe('the end', () => {
  test('closeAsync() resolves to how the connection ended', () => {
    expect(ws.closeAsync()).type.toBe<Promise<CloseInfo>>()
    expect(ws.closeAsync).type.toBeCallableWith(1000, 'bye')
    expect(ws.closeAsync).type.toBeCallableWith(undefined, 'bye')
    expect(ws.closeAsync).type.not.toBeCallableWith('bye')
    expect(ws.closeAsync).type.not.toBeCallableWith(1000, 1000)
  })

  test('`closed` and `closeInfo` tell the same', () => {
    expect(ws.closed).type.toBe<Promise<CloseInfo>>()
    expect(ws.closeInfo).type.toBe<CloseInfo | null>()
  })

  test('a CloseInfo names a code and a cause', () => {
    expect<CloseInfo['code']>().type.toBe<number>()
    expect<CloseInfo['reason']>().type.toBe<string>()
    expect<CloseInfo['wasClean']>().type.toBe<boolean>()
    expect<CloseInfo['cause']>().type.toBe<CloseCause>()
    expect<CloseInfo['error']>().type.toBe<Error | undefined>()
    expect<CloseInfo['unread' | 'unsent']>().type.toBe<number>()
    expect<CloseCause>().type.toBeAssignableFrom<'peer' | 'local' | 'shutdown'>()
    expect<CloseCause>().type.not.toBeAssignableFrom<string>()
  })

  test('a WebSocketCloseError takes a code, a reason and a cause', () => {
    expect(WebSocketCloseError).type.toBeConstructableWith(4001)
    expect(WebSocketCloseError).type.toBeConstructableWith(4001, 'unauthorised', { cause: new Error('expired') })
    expect(WebSocketCloseError).type.not.toBeConstructableWith()
    expect(WebSocketCloseError).type.not.toBeConstructableWith('unauthorised')
    expect<WebSocketCloseError>().type.toBeAssignableTo<Error>()
    expect<WebSocketCloseError['code']>().type.toBe<number>()
  })

  test('a connection goes with `await using`, and not with `using`', () => {
    expect(ws).type.toBeAssignableTo<AsyncDisposable>()
    expect(ws).type.not.toBeAssignableTo<Disposable>()
  })
})

describe('the connection', () => {
  test('tells of its state', () => {
    expect(ws.isClosed).type.toBe<boolean>()
    expect(ws.hasEnded).type.toBe<boolean>()
    expect(ws.bufferedBytes).type.toBe<number>()
    expect(ws.subprotocol).type.toBe<string>()
    expect(ws.signal).type.toBe<AbortSignal>()
    expect(ws.request).type.toBe<FastifyRequest>()
    expect(ws.socket).type.toBe<WebSocket>()
    expect(ws.terminate()).type.toBe<void>()
  })

  test('has room for the data of the application, and nothing in it until that says so', () => {
    expect(ws.data).type.toBe<WebSocketData>()
    expect(ws.data).type.not.toHaveProperty('user')
  })

  test('has a ping policy', () => {
    expect(ws.pingPolicy).type.toBe<PingPolicy>()
    expect(ws.pingPolicy.isActive).type.toBe<boolean>()
    expect(ws.pingPolicy.start).type.toBeCallableWith()
    expect(ws.pingPolicy.start).type.toBeCallableWith({ interval: 5_000, dataMessage: '%ping%' })
    expect(ws.pingPolicy.start).type.not.toBeCallableWith({ interval: '5s' })
    expect(ws.pingPolicy.start).type.not.toBeCallableWith({ message: '%ping%' })
    expect<PingPolicyOptions>().type.toBeAssignableFrom<Record<keyof PingPolicyOptions, undefined>>()
    expect(ws.pingPolicy.stop()).type.toBe<void>()
  })
})

describe('a message', () => {
  test('knows the connection on which it came', () => {
    expect(message.sender).type.toBe<AsyncWebSocket>()
  })

  test('has its payload as bytes, as text and as JSON', () => {
    expect(message.bytes).type.toBe<Buffer>()
    expect(message.length).type.toBe<number>()
    expect(message.isBinary).type.toBe<boolean>()
    expect(message.getString()).type.toBe<string>()
    expect(message.getString).type.toBeCallableWith('latin1')
    expect(message.getString).type.not.toBeCallableWith('utf-32')
    expect(message.json()).type.toBe<unknown>()
    expect(message.json<{ id: number }>()).type.toBe<{ id: number }>()
  })
})

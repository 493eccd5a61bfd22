import { EventEmitter } from 'node:events'
import Fastify, { type FastifyError } from 'fastify'
import mqemitter from 'mqemitter'
import mqemitterRedis from 'mqemitter-redis'
import { describe, expect, test } from 'tstyche'
import type { AcceptOptions, AsyncWebSocket, BusState, CloseInfo, PublishOptions, PublicationGap, PublishResult, SubscribeOptions, SubscribeResult, WebSocketAsyncOptions, WebSocketCollection } from '../../index.js'

const { webSockets } = Fastify()

describe('webSockets', () => {
  test('is what the app is decorated with', () => {
    expect(webSockets).type.toBe<WebSocketCollection>()
    expect<EventEmitter>().type.toBeAssignableFrom(webSockets)
  })

  test('gives connections', () => {
    expect(webSockets.size).type.toBe<number>()
    expect([...webSockets]).type.toBe<AsyncWebSocket[]>()
    expect(webSockets.get('Ada')).type.toBe<AsyncWebSocket | undefined>()
    expect(webSockets.find(({ isClosed }) => isClosed)).type.toBe<AsyncWebSocket | undefined>()
    expect(webSockets.closeAllAsync(1001, 'bye')).type.toBe<Promise<CloseInfo[]>>()
    expect(webSockets.get).type.not.toBeCallableWith(42)
  })

  test('tells its listeners of a connection, and how it ended', () => {
    webSockets.on('open', (ws) => { expect(ws).type.toBe<AsyncWebSocket>() })
    webSockets.once('close', (ws, info) => {
      expect(ws).type.toBe<AsyncWebSocket>()
      expect(info).type.toBe<CloseInfo>()
    })
    expect(webSockets.on).type.not.toBeCallableWith('message', () => {})
  })

  test('tells its listeners of a gap', () => {
    webSockets.on('gap', (gap) => { expect(gap).type.toBe<PublicationGap>() })
  })
})

describe('topics', () => {
  test('are subscribed to by connections', () => {
    expect<AsyncWebSocket['subscribeAsync']>().type.toBeCallableWith('room', { wildcards: true })
    expect<AsyncWebSocket['subscribeAsync']>().type.not.toBeCallableWith(42)
    expect<AsyncWebSocket['subscribeAsync']>().type.not.toBeCallableWith('room', { wildcard: true })
    expect<SubscribeOptions>().type.toBeAssignableFrom<Record<keyof SubscribeOptions, undefined>>()
  })

  test('tell whether other nodes take part', () => {
    expect<Awaited<ReturnType<AsyncWebSocket['subscribeAsync']>>>().type.toBe<SubscribeResult>()
    expect<PublishResult['bus']>().type.toBe<'ok' | FastifyError>()
    expect<SubscribeResult['bus']>().type.toBe<BusState>()
  })

  test('go over any MQEmitter', () => {
    expect<WebSocketAsyncOptions>().type.toBeAssignableFrom({ pubsub: mqemitter() })
    expect<WebSocketAsyncOptions>().type.toBeAssignableFrom({ pubsub: mqemitterRedis() })
    expect<WebSocketAsyncOptions>().type.not.toBeAssignableFrom({ pubsub: new EventEmitter() })
  })

  test('are published on', () => {
    expect(webSockets.publishAsync('room', 'text')).type.toBe<Promise<PublishResult>>()
    expect(webSockets.publishAsync).type.toBeCallableWith('room', Buffer.from('bytes'), { except: undefined })
    expect(webSockets.publishAsync).type.not.toBeCallableWith('room', { json: true })
    expect<PublishOptions>().type.not.toBeAssignableFrom({ except: 'Ada' })
  })
})

describe('identifier', () => {
  test('is a string, or left out', () => {
    expect<AcceptOptions>().type.toBeAssignableFrom({ identifier: 'Ada' })
    expect<AcceptOptions>().type.toBeAssignableFrom({ identifier: undefined })
    expect<AcceptOptions>().type.not.toBeAssignableFrom({ identifier: 42 })
    expect<AsyncWebSocket['identifier']>().type.toBe<string | null>()
  })
})

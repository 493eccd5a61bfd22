import assert from 'node:assert/strict'
import Fastify from 'fastify'
import websocketAsync, { fastifyWebSocketAsync, WebSocketCloseError } from 'fastify-websocket-async'
import { WebSocket } from 'ws'
import { converse } from './conversation.cjs'

assert.equal(fastifyWebSocketAsync, websocketAsync)
assert.equal(new WebSocketCloseError(4000).code, 4000)
await converse({ Fastify, websocketAsync, WebSocket })

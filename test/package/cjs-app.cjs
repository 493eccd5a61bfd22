'use strict'

const assert = require('node:assert/strict')
const Fastify = require('fastify')
const websocketAsync = require('fastify-websocket-async')
const { WebSocket } = require('ws')
const { converse } = require('./conversation.cjs')

// Fastify takes the default export of a module, so that what require() gives can be registered as it is
assert.equal(websocketAsync.fastifyWebSocketAsync, websocketAsync.default)
assert.equal(new websocketAsync.WebSocketCloseError(4000).code, 4000)
converse({ Fastify, websocketAsync, WebSocket })

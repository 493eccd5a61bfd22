// NestJS on Fastify: a controller's @Get() handler holds a conversation. Nest sends what a handler returned, also after it
import assert from 'node:assert/strict'
import 'reflect-metadata'
import { Controller, Get, Module, Req } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { FastifyAdapter } from '@nestjs/platform-fastify'
import websocketAsync from 'fastify-websocket-async'
import { captureLog, next, open } from './app.mjs'

class ChatController {
  async chat (request) {
    const ws = await request.getWebSocketAsync()
    for await (const message of ws) await ws.sendAsync(`echo ${message.getString()}`)
  }

  health () {
    return { ok: true }
  }
}
class AppModule {}

// What the compiler makes of @Controller() class { @Get('chat') chat (@Req() request) {} }
const { prototype } = ChatController
Req()(prototype, 'chat', 0)
Get('chat')(prototype, 'chat', Object.getOwnPropertyDescriptor(prototype, 'chat'))
Get('health')(prototype, 'health', Object.getOwnPropertyDescriptor(prototype, 'health'))
Controller()(ChatController)
Module({ controllers: [ChatController] })(AppModule)

const { lines, logger } = captureLog('warn')
const app = await NestFactory.create(AppModule, new FastifyAdapter({ logger }), { logger: ['warn', 'error'] })
await app.register(websocketAsync)
await app.listen(0, '127.0.0.1')
const { port } = app.getHttpServer().address()

for (let round = 0; round < 3; round++) {
  const client = await open(`ws://127.0.0.1:${port}/chat`)
  client.send('hello')
  assert.equal(await next(client), 'echo hello')
  client.close()
}
assert.deepEqual(await (await fetch(`http://127.0.0.1:${port}/health`)).json(), { ok: true })
await app.close()
assert.deepEqual(lines, [])

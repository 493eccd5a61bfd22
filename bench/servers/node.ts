/** Runs one server: `node --import tsx bench/servers/node.ts <name> [--compression] [--tls]`. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import fastifyWebsocket from '@fastify/websocket'
import Fastify, { type FastifyInstance } from 'fastify'
import { WebSocketServer, type WebSocket } from 'ws'
import type { AsyncWebSocket } from '../../index.js'
import { newCertificate } from '../../test/fixtures/processes/certificate.js'
import { readFrame } from '../../test/fixtures/frames.js'
import { answerQuestions } from '../processes/child.js'
import { serverFrame } from '../load/frames.js'
import { BURST, BURST_TEXT, OURS } from '../scenarios.js'

type OursName = typeof OURS[number]

interface Options {
  readonly compression: boolean
  readonly https: ReturnType<typeof newCertificate> | null
}

type Conversation = (ws: AsyncWebSocket) => Promise<void>

const HOST = '127.0.0.1'
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11' // RFC 6455, section 1.3

// Its own name resolves to the build, as it is published. The name is in a variable so that the types come from the source
const BUILT = 'fastify-websocket-async'

const ECHOES: Record<OursName, Conversation> = {
  ours: async (ws) => {
    let message
    while ((message = await ws.receiveMessageAsync()) !== null) await ws.sendAsync(message.getString())
  },
  'ours, timeout': async (ws) => {
    let message
    while ((message = await ws.receiveMessageAsync({ timeout: 30_000 })) !== null) await ws.sendAsync(message.getString())
  },
  'ours, for await': async (ws) => {
    for await (const message of ws) await ws.sendAsync(message.getString())
  },
  'ours, tryReceive': async (ws) => {
    let message
    while ((message = ws.tryReceive() ?? await ws.receiveMessageAsync()) !== null) await ws.sendAsync(message.getString())
  }
}

function newApp (https: Options['https']): FastifyInstance {
  return https === null ? Fastify() : Fastify({ https }) as unknown as FastifyInstance // the two differ only in the type of the server
}

async function ours (name: OursName, { compression, https }: Options): Promise<Server> {
  const { default: websocketAsync } = await import(BUILT) as typeof import('../../index.js')
  const app = newApp(https)
  await app.register(websocketAsync, { compression })
  const route = (path: string, converse: Conversation) => app.get(path, async (request) => converse(await request.getWebSocketAsync()))
  route('/echo', ECHOES[name])
  route('/burst', async (ws) => {
    for await (const _message of ws) {
      for (let i = 0; i < BURST; i++) await ws.sendAsync(BURST_TEXT)
    }
  })
  route('/fan-out', async (ws) => {
    await ws.subscribeAsync('all')
    for await (const message of ws) await app.webSockets.publishAsync('all', message.getString())
  })
  route('/idle', async (ws) => { await ws.closed })
  await app.listen({ port: 0, host: HOST })
  return app.server
}

/** Called with the underlying stream before each send. */
type Prepare = (stream: Socket) => void

// Everything that is sent until the end of this turn goes out in one write
const cork: Prepare = (stream) => {
  if (stream.writableCorked > 0) return
  stream.cork()
  process.nextTick(() => stream.uncork())
}

async function event ({ compression, https }: Options, prepare: Prepare): Promise<Server> {
  const app = newApp(https)
  await app.register(fastifyWebsocket, { options: { perMessageDeflate: compression } })
  const route = (path: string, handler: (socket: WebSocket, stream: Socket) => void) => {
    app.get(path, { websocket: true }, (socket, request) => handler(socket, request.raw.socket))
  }
  route('/echo', (socket, stream) => {
    socket.on('message', (message) => {
      prepare(stream)
      socket.send(message.toString())
    })
  })
  route('/burst', (socket, stream) => {
    socket.on('message', () => {
      for (let i = 0; i < BURST; i++) {
        prepare(stream)
        socket.send(BURST_TEXT)
      }
    })
  })
  const all = new Map<WebSocket, Socket>()
  route('/fan-out', (socket, stream) => {
    all.set(socket, stream)
    socket.on('close', () => all.delete(socket))
    socket.on('message', (message) => {
      const text = message.toString()
      for (const [each, its] of all) {
        prepare(its)
        each.send(text)
      }
    })
  })
  route('/idle', () => {})
  await app.listen({ port: 0, host: HOST })
  return app.server
}

async function plainWs ({ compression, https }: Options): Promise<Server> {
  const http = https === null ? createHttpServer() : createHttpsServer(https)
  const server = new WebSocketServer({ server: http, perMessageDeflate: compression })
  const answers: Record<string, (socket: WebSocket, text: string) => void> = {
    '/echo': (socket, text) => socket.send(text),
    '/burst': (socket) => { for (let i = 0; i < BURST; i++) socket.send(BURST_TEXT) },
    '/fan-out': (_socket, text) => { for (const each of server.clients) each.send(text) }
  }
  server.on('connection', (socket, { url = '' }) => {
    const answer = answers[url]
    if (answer !== undefined) socket.on('message', (message) => answer(socket, message.toString()))
  })
  return await listen(http)
}

/** The lower bound: a server that only reads and writes. */
async function net (): Promise<Server> {
  return await listen(createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => {}) // the client resets its connections
    socket.once('data', (head) => {
      const key = /sec-websocket-key: (\S+)/i.exec(head.toString())?.[1] ?? ''
      const accept = createHash('sha1').update(key + GUID).digest('base64')
      socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`)
      answerBySize(socket)
    })
  }))
}

// Treats every frame as if it had the size of the first one, and answers with the text of the first one
function answerBySize (socket: Socket): void {
  let start: Buffer = Buffer.alloc(0) // the bytes that have come, until the first frame is complete
  let size = 0 // the size of a frame that comes
  let pending = 0
  let reply: Buffer = Buffer.alloc(0)
  let replies: Buffer = reply // as many replies as had to go out at once so far
  socket.on('data', (chunk: Buffer) => {
    if (size === 0) {
      start = Buffer.concat([start, chunk])
      const first = readFrame(start)
      if (first === null) return
      chunk = start
      size = first.size
      replies = reply = serverFrame(first.payload)
    }
    pending += chunk.length
    const frames = Math.floor(pending / size)
    pending -= frames * size
    const length = frames * reply.length
    if (replies.length < length) replies = Buffer.concat(Array.from({ length: frames }, () => reply))
    if (frames > 0) socket.write(replies.subarray(0, length))
  })
}

async function listen<S extends Server> (server: S): Promise<S> {
  server.listen(0, HOST)
  await once(server, 'listening')
  return server
}

function start (name: string | undefined, options: Options): Promise<Server> {
  const own = OURS.find((each) => each === name)
  if (own !== undefined) return ours(own, options)
  if (name === 'event') return event(options, () => {})
  if (name === 'event, corked') return event(options, cork)
  if (name === 'ws') return plainWs(options)
  if (name === 'net') return net()
  throw new Error(`There is no server ${name}`)
}

/** The resident memory after garbage collection, in bytes. */
async function residentMemory (): Promise<number> {
  if (globalThis.gc === undefined) throw new Error('The server has to run with --expose-gc')
  for (let i = 0; i < 2; i++) {
    globalThis.gc()
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  return process.memoryUsage.rss()
}

const server = await start(process.argv[2], {
  compression: process.argv.includes('--compression'),
  https: process.argv.includes('--tls') ? newCertificate() : null
})

const commands = {
  port: () => (server.address() as AddressInfo).port, // the server listens on TCP
  residentMemory
}
export type ServerCommands = typeof commands

answerQuestions(commands)

// An app in TypeScript as its author writes it: compiled against the packed declarations, never run
import Fastify, { type FastifyRequest } from 'fastify'
import websocketAsync, {
  fastifyWebSocketAsync, WebSocketCloseError,
  type AcceptOptions, type AsyncWebSocket, type CancelOptions, type CloseCause, type CloseInfo, type PingPolicy,
  type PingPolicyOptions, type Sendable, type SendOptions, type ShutdownOptions, type WebSocketAsyncOptions,
  type WebSocketMessage
} from 'fastify-websocket-async'

declare module 'fastify-websocket-async' {
  interface WebSocketData {
    user: string
  }
}

const shutdown: ShutdownOptions = { grace: 1_000, timeout: undefined }
const options: WebSocketAsyncOptions = { maxPayload: 1024, shutdown }

const app = Fastify({ logger: true })
await app.register(websocketAsync, options)
await app.register(fastifyWebSocketAsync)

app.get('/chat', async (request): Promise<CloseInfo> => {
  if (!request.isWebSocketUpgrade) throw new WebSocketCloseError(4000, 'a WebSocket is needed')
  const accept: AcceptOptions = { headers: { 'x-room': 'a' } }
  await using ws = await request.getWebSocketAsync(accept)
  ws.data.user = 'ada'
  greet(ws)
  for await (const message of ws) await echo(message)
  return ws.closeAsync(1000, 'bye')
})

app.get('/events', { websocket: true }, (socket, request) => {
  socket.on('message', (data) => socket.send(data.toString()))
  request.log.info(request.isWebSocketUpgrade)
})

function greet (ws: AsyncWebSocket): void {
  const interval: PingPolicyOptions = { interval: 1_000 }
  const policy: PingPolicy = ws.pingPolicy
  policy.start(interval)
  const user: string = ws.data.user.toUpperCase()
  ws.socket.ping(user)
  // @ts-expect-error: only what was declared is there
  ws.data.name = 'ada'
  // @ts-expect-error: and it has the type that was declared
  ws.data.user = 1
}

async function echo (message: WebSocketMessage): Promise<boolean> {
  const { sender } = message
  const data: Sendable = message.isBinary ? message.bytes : message.getString('utf8')
  const options: SendOptions = { compress: false }
  const cancel: CancelOptions = { signal: sender.signal, timeout: undefined }
  const next: WebSocketMessage | null = await sender.receiveMessageAsync(cancel)
  const cause: CloseCause | undefined = sender.closeInfo?.cause
  return next !== null && cause === undefined && sender.sendAsync(data, options)
}

// What an app exports by inference needs names for all of our types in its own declarations
export const receive = async (request: FastifyRequest) => {
  const ws = await request.getWebSocketAsync()
  const message = await ws.receiveMessageAsync()
  return { ...ws, message, sender: message?.sender, info: await ws.closed }
}
export const plugins = { websocketAsync, fastifyWebSocketAsync, WebSocketCloseError }

// @ts-expect-error: an option that does not exist
app.register(websocketAsync, { maxPayloads: 1024 })

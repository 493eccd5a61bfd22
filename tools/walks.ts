/** Five walks through the code: which functions run, in order, on a real server over TCP. */
import { EventEmitter, once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import { WebSocket } from 'ws'
import { startTrace, stopTrace, withTracedPlugin, type Call } from './trace.js'

type Plugin = Parameters<Parameters<typeof withTracedPlugin>[0]>[0]
type Walk = (plugin: Plugin) => Promise<Call[]>

const WARM_UP = 5 // messages, because the first ones run other code than those that follow
const LEFT_OVER = 100 // ms, for what the plugin still does after the peer has seen the end of the walk

// Each walk has an app of its own. The client, `ws`, is in this process too, but its calls do not count, because only the plugin's functions report
const WALKS: Record<string, Walk> = {
  'upgrade, to the first receive': walkUpgrade,
  'message in, echo out': walkEcho,
  'peer closes': walkPeerClose,
  closeAsync: walkOwnClose,
  'app.close() with one connection': walkAppClose
}

/** Traces the walks whose name contains `wanted`. */
export async function traceWalks (wanted: string): Promise<[name: string, calls: Call[]][]> {
  return withTracedPlugin(async (plugin) => {
    const walks: [string, Call[]][] = []
    for (const [name, walk] of Object.entries(WALKS)) {
      if (name.includes(wanted)) walks.push([name, await walk(plugin)])
    }
    return walks
  })
}

async function buildApp (plugin: Plugin): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(plugin)
  return app
}

function connectTo (app: FastifyInstance): WebSocket {
  return new WebSocket(`ws://127.0.0.1:${(app.server.address() as AddressInfo).port}/`)
}

/** Starts an app that echoes, and a client that has received some echoes. The message `close` makes the handler close. */
async function startEcho (plugin: Plugin): Promise<{ app: FastifyInstance, client: WebSocket }> {
  const app = await buildApp(plugin)
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    let message
    while ((message = await ws.receiveMessageAsync()) !== null) {
      if (message.getString() === 'close') {
        startTrace()
        return ws.closeAsync()
      }
      await ws.sendAsync(message.getString())
    }
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const client = connectTo(app)
  await once(client, 'open')
  for (let i = 0; i < WARM_UP; i++) await echo(client)
  await delay(LEFT_OVER)
  return { app, client }
}

async function echo (client: WebSocket): Promise<void> {
  client.send('hello')
  await once(client, 'message')
}

async function walkUpgrade (plugin: Plugin): Promise<Call[]> {
  const app = await buildApp(plugin)
  const walked = new EventEmitter<{ upgrade: [Call[]] }>()
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    const received = ws.receiveMessageAsync()
    walked.emit('upgrade', stopTrace())
    await received
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const end = once(walked, 'upgrade') as Promise<[Call[]]>
  startTrace()
  connectTo(app)
  const [calls] = await end
  await app.close()
  return calls
}

async function walkEcho (plugin: Plugin): Promise<Call[]> {
  const { app, client } = await startEcho(plugin)
  startTrace()
  await echo(client)
  await delay(LEFT_OVER)
  const calls = stopTrace()
  await app.close()
  return calls
}

async function walkPeerClose (plugin: Plugin): Promise<Call[]> {
  const { app, client } = await startEcho(plugin)
  startTrace()
  client.close(1000)
  return traceEnd(app, client)
}

async function walkOwnClose (plugin: Plugin): Promise<Call[]> {
  const { app, client } = await startEcho(plugin)
  client.send('close')
  return traceEnd(app, client)
}

async function traceEnd (app: FastifyInstance, client: WebSocket): Promise<Call[]> {
  await once(client, 'close')
  await delay(LEFT_OVER)
  const calls = stopTrace()
  await app.close()
  return calls
}

async function walkAppClose (plugin: Plugin): Promise<Call[]> {
  const { app } = await startEcho(plugin)
  startTrace()
  await app.close()
  return stopTrace()
}

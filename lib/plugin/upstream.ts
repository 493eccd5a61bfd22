import { EventEmitter } from 'node:events'
import type { IncomingMessage, Server } from 'node:http'
import type { Socket } from 'node:net'
import fastifyWebsocket, { type WebsocketHandler } from '@fastify/websocket'
import type { FastifyInstance, RouteHandlerMethod, RouteOptions } from 'fastify'
import type { WebSocket, WebSocketServer } from 'ws'
import { errors } from '../base/errors.js'
import { observed } from '../connection/observed-socket.js'
import type { ForeignPlugin } from '../upgrade/attempt.js'
import { awaitableHandler, upgradeOf } from '../upgrade/handler-run.js'
import type { Settings } from './options.js'
import { eventHandler, markAwaitable } from './routes.js'

/** A listener for the `upgrade` event of a server. */
type ServerOnUpgrade = (raw: IncomingMessage, socket: Socket, head: Buffer) => void

/** Servers whose upgrades an app with this plugin answers. */
const claimed = new WeakSet<Server>()

/**
 * Makes the server's upgrades this app's, until the app has closed.
 * @throws FST_WSA_ALREADY_REGISTERED
 */
export function claim (app: FastifyInstance, server: Server): void {
  if (claimed.has(server) || app.hasRequestDecorator('getWebSocketAsync')) throw alreadyRegistered('fastify-websocket-async')
  if (app.hasDecorator('websocketServer')) throw alreadyRegistered('@fastify/websocket')
  claimed.add(server)
  app.addHook('onClose', async () => { claimed.delete(server) })
}

/**
 * Registers `@fastify/websocket`, for its decorators, its server of `ws` and what it does with `{ websocket: true }` routes, while
 * the upgrades stay ours.
 * @param serverOnUpgrade called for each upgrade of its `injectWS`
 */
export async function registerUpstream (
  app: FastifyInstance,
  { server, errorHandler }: Pick<Settings, 'server' | 'errorHandler'>,
  bus: { close (): void } | null,
  serverOnUpgrade: ServerOnUpgrade
): Promise<void> {
  // Its own hook replaces every handler by one that accepts an upgrade at once. So a hook before it remembers the handler as it
  // was declared, and a hook after it puts that back, in a form that may accept.
  const declared = new WeakMap<RouteOptions, RouteHandlerMethod>()
  app.addHook('onRoute', (route) => { declared.set(route, route.handler) })
  await withoutResponseHooks(app, () => app.register(fastifyWebsocket, {
    options: { ...server, server: injectionServer(serverOnUpgrade) },
    preClose: closeAfter(bus)
  }))
  app.addHook('onRoute', (route) => putBack(route, declared.get(route) as RouteHandlerMethod, errorHandler)) // the hook before has just run
  joinServer(app.websocketServer)
}

function putBack (route: RouteOptions, handler: RouteHandlerMethod, errorHandler: Settings['errorHandler']): void {
  const isEventStyle = route.websocket === true || route.wsHandler !== undefined
  if (isEventStyle && [route.method].flat().every((method) => method === 'HEAD')) return // HEAD cannot be upgraded
  const wsHandler = route.websocket === true ? handler as unknown as WebsocketHandler : route.wsHandler // with `websocket: true` the handler is one
  route.handler = wsHandler === undefined ? awaitableHandler(handler) : eventHandler(route.handler, wsHandler, errorHandler)
  markAwaitable(route)
}

/**
 * Registers a plugin without its `onResponse` hooks. The hook of `@fastify/websocket` destroys the socket of an upgrade that it
 * has noted on the request. It notes none here, so the hook would only slow down every request and every connection.
 */
async function withoutResponseHooks (app: FastifyInstance, register: () => PromiseLike<unknown>): Promise<void> {
  const { addHook } = app
  app.addHook = function (this: FastifyInstance, ...args: [name: string, hook: never]) {
    return args[0] === 'onResponse' ? this : Reflect.apply(addHook, this, args)
  }
  try {
    await register()
  } finally {
    app.addHook = addHook
  }
}

/**
 * Takes the place of the HTTP server for `@fastify/websocket`, which would route the upgrades itself and so must not learn of them.
 * Its `injectWS` emits upgrades on this server, and they go the way of all upgrades.
 */
export function injectionServer (serverOnUpgrade: ServerOnUpgrade): Server {
  const ignore = () => {}
  const emit = (_event: 'upgrade', ...upgrade: Parameters<ServerOnUpgrade>) => serverOnUpgrade(...upgrade)
  return { on: ignore, removeListener: ignore, emit } as unknown as Server // it calls these three and no other
}

// It replaces what `@fastify/websocket` does before the app closes. Our own hooks have closed every connection by then
function closeAfter (bus: { close (): void } | null) {
  return function preClose (this: FastifyInstance, done: () => void): void {
    this.websocketServer.close()
    bus?.close()
    done()
  }
}

/** Gives the server of `ws` our class of sockets, and lets each upgrade choose its subprotocol and headers and learn of a bad handshake. */
export function joinServer (server: WebSocketServer): void {
  const { options } = server
  options.WebSocket = observed(options.WebSocket as typeof WebSocket) // ws has set it
  chooseSubprotocol(options)
  server.on('headers', (lines, raw) => { lines.push(...upgradeOf(raw)?.attempt?.acceptance?.headerLines ?? []) })
  server.on('wsClientError', (error, _socket, raw) => { upgradeOf(raw)?.attempt?.serverOnClientError(error) })
}

/**
 * Others write to these options at any time, as graphql-ws does at its first client: the function that they set chooses where the
 * upgrade itself has not.
 */
function chooseSubprotocol (options: WebSocketServer['options']): void {
  let others = options.handleProtocols
  const handleProtocols: typeof others = (offered, raw) =>
    upgradeOf(raw)?.attempt?.acceptance?.subprotocol ?? (others ?? firstOffered)(offered, raw)
  Object.defineProperty(options, 'handleProtocols', {
    configurable: true,
    enumerable: true,
    get: () => handleProtocols,
    set: (value: typeof others) => { others = value }
  })
}

function firstOffered (offered: Set<string>): string | false {
  const [first = false] = offered
  return first
}

/**
 * Finds each `@fastify/websocket` that is registered in another scope, as mercurius does if it comes first. It shares no decorator
 * with us, but it would take every upgrade of the server. So its listener is removed, and each upgrade request gets the properties
 * that the listener would have set and that its routes look for. To be called when the app is ready.
 * @throws FST_WSA_ALREADY_REGISTERED if its listener is not the one that we know
 */
export function adoptForeignPlugins (app: FastifyInstance, server: Server): ForeignPlugin[] {
  const registered = app.printPlugins().match(/@fastify\/websocket /g) ?? [] // we registered one of them
  if (registered.length === 1 || server.listenerCount('upgrade') === 1) return []
  const listeners = server.listeners('upgrade').filter(({ name }) => name === 'onUpgrade') as ForeignListener[]
  if (listeners.length === 0) throw alreadyRegistered('@fastify/websocket')
  return listeners.map((listener) => {
    server.off('upgrade', listener)
    return foreignPlugin(keysOf(listener))
  })
}

type ForeignListener = (raw: object, socket: EventEmitter, head: Buffer) => void

/** The properties of a raw request in which a foreign instance keeps the socket and the head. */
interface Keys {
  readonly socket: PropertyKey
  readonly head: PropertyKey
}

// They are symbols that it does not export. Its listener sets both before it does anything else, and this request lets it do no more
function keysOf (listener: ForeignListener): Keys {
  const keys: PropertyKey[] = []
  const raw = new Proxy({}, {
    set: (_target, key) => keys.push(key) === 1 // `false` throws
  })
  try {
    listener(raw, new EventEmitter(), Buffer.alloc(0))
  } catch (error) {
    const [socket, head] = keys
    if (socket !== undefined && head !== undefined) return { socket, head }
  }
  throw alreadyRegistered('@fastify/websocket')
}

// A route of it reads the head when it hands the socket to its own server of `ws`
function foreignPlugin (keys: Keys): ForeignPlugin {
  return {
    exposeSocket (raw, socket, head, onTake) {
      Object.defineProperties(raw, {
        [keys.socket]: { value: socket, configurable: true },
        [keys.head]: {
          get () {
            onTake()
            return head
          },
          configurable: true
        }
      })
    }
  }
}

function alreadyRegistered (name: string): Error {
  return new errors.FST_WSA_ALREADY_REGISTERED(name)
}

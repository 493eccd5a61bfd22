import { EventEmitter } from 'node:events'
import type { Server } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { errors } from '../base/errors.js'

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
 * For when the app is ready. In another scope than ours, as mercurius has it where it came first, `@fastify/websocket` shares
 * no decorator with us, but would take every upgrade of the server. Its listener comes off, and what it would have noted on
 * a request is what its routes look for.
 * @throws FST_WSA_ALREADY_REGISTERED where its listener is not the one we know
 */
export function takeInNeighbours (app: FastifyInstance, server: Server): Neighbour[] {
  const registered = app.printPlugins().match(/@fastify\/websocket /g) ?? [] // one of them by us
  if (registered.length === 1 || server.listenerCount('upgrade') === 1) return []
  const listeners = server.listeners('upgrade').filter(({ name }) => name === 'onUpgrade') as UpgradeListener[]
  if (listeners.length === 0) throw alreadyRegistered('@fastify/websocket')
  return listeners.map((listener) => {
    server.off('upgrade', listener)
    return neighbourBehind(listener)
  })
}

/** The keys under which an `@fastify/websocket` of another scope notes the socket and the head on a raw request. */
export interface Neighbour {
  readonly socket: PropertyKey
  readonly head: PropertyKey
}

type UpgradeListener = (raw: object, socket: EventEmitter, head: Buffer) => void

// They are symbols of its own. It notes both before it does anything else, and gets no further
function neighbourBehind (listener: UpgradeListener): Neighbour {
  const keys: PropertyKey[] = []
  const raw = new Proxy({}, {
    set: (_target, key) => keys.push(key) === 1
  })
  try {
    listener(raw, new EventEmitter(), Buffer.alloc(0))
  } catch (error) {
    const [socket, head] = keys
    if (socket !== undefined && head !== undefined) return { socket, head }
  }
  throw alreadyRegistered('@fastify/websocket')
}

function alreadyRegistered (name: string): Error {
  return new errors.FST_WSA_ALREADY_REGISTERED(name)
}

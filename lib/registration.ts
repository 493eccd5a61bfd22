import type { Server } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { errors } from './errors.js'

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
 * For when the app is ready. In another scope than ours `@fastify/websocket` shares no decorator with us; but it would take
 * every upgrade of the server.
 * @throws FST_WSA_ALREADY_REGISTERED
 */
export function assertOnlyOne (app: FastifyInstance, server: Server): void {
  const registered = app.printPlugins().match(/@fastify\/websocket /g) ?? [] // one of them by us
  if (registered.length > 1 && server.listenerCount('upgrade') > 1) throw alreadyRegistered('@fastify/websocket')
}

function alreadyRegistered (name: string): Error {
  return new errors.FST_WSA_ALREADY_REGISTERED(name)
}

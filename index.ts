import type { Server } from 'node:http'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { closeWithoutDeadlock } from './lib/app/close-without-deadlock.js'
import { WebSocketCollection } from './lib/app/collection.js'
import { FirstRequests } from './lib/app/first-requests.js'
import { Lifecycle } from './lib/app/lifecycle.js'
import { Shutdown, withoutFailing } from './lib/app/shutdown.js'
import type { AsyncWebSocket } from './lib/connection/async-web-socket.js'
import { readOptions, type Settings, type WebSocketAsyncOptions } from './lib/plugin/options.js'
import { decorateRequests, hasResponseHooks } from './lib/plugin/routes.js'
import { adoptForeignPlugins, claim, registerUpstream } from './lib/plugin/upstream.js'
import { injectInto, type InjectedWebSocket, type InjectOptions } from './lib/testing/inject.js'
import type { AcceptOptions } from './lib/upgrade/accept-options.js'
import { Admission } from './lib/upgrade/admission.js'
import type { UpgradeContext } from './lib/upgrade/attempt.js'
import { UpgradeListener } from './lib/upgrade/listener.js'

export { WebSocketCloseError, type CloseCause, type CloseInfo } from './lib/base/close.js'
export type { BusState, PublicationGap, PubSub } from './lib/topics/bus.js'
export type { PublishOptions, PublishResult, WebSocketCollection, WebSocketCollectionEvents } from './lib/app/collection.js'
export type { CancelOptions } from './lib/base/validation.js'
export type { AsyncWebSocket, WebSocketData, WebSocketMessage } from './lib/connection/async-web-socket.js'
export { InjectRefusedError, type InjectedWebSocket, type InjectOptions } from './lib/testing/inject.js'
export type { ShutdownOptions, WebSocketAsyncOptions } from './lib/plugin/options.js'
export type { PingPolicy, PingPolicyOptions } from './lib/connection/ping-policy.js'
export type { Sendable } from './lib/send/sendable.js'
export type { SendOptions } from './lib/send/sender.js'
export type { Delivery, SubscribeOptions, SubscribeResult } from './lib/topics/topics.js'
export type { AcceptOptions } from './lib/upgrade/accept-options.js'

declare module 'fastify' {
  interface FastifyInstance {
    /** The connections of this app: `for (const ws of app.webSockets)`, `size`, `get(identifier)`, publishing, and events. */
    readonly webSockets: WebSocketCollection

    /**
     * Connects to a route of this app without a port, for tests. The connection goes through the app's own server, so that hooks,
     * routing and the closing handshake behave as over TCP. Resolves to a client that has the methods of the server's connection.
     * Rejects with an `InjectRefusedError` (`statusCode`, `headers`, `body`, `json()`) if the server answered HTTP. The app need not
     * listen, and `app.close()` ends the client too.
     * @throws FST_WSA_INVALID_ARGUMENT, also for a path that does not begin with a slash
     */
    injectWebSocketAsync (path: string, options?: InjectOptions): Promise<InjectedWebSocket>
  }

  interface FastifyRequest {
    /** Whether the client asks for a WebSocket. It is set in every hook too. */
    readonly isWebSocketUpgrade: boolean

    /**
     * Accepts the upgrade and resolves to the connection. Until it is called the request is ordinary HTTP: hooks run, and
     * the handler may wait, or answer instead. Later calls give the same connection and ignore their options. It always
     * settles. It rejects with an error whose `code` says why (see the README). If the handler lets that error pass, Fastify
     * answers with it.
     */
    getWebSocketAsync (options?: AcceptOptions): Promise<AsyncWebSocket>
  }
}

async function websocketAsync (app: FastifyInstance, options: WebSocketAsyncOptions): Promise<void> {
  const { bodyLimit, pluginTimeout } = app.initialConfig as Required<typeof app.initialConfig> // Fastify fills them in
  const settings = readOptions(options, bodyLimit)
  const server = (settings.server.server ?? app.server) as Server // Fastify's type leaves the kind of server open
  claim(app, server)
  const lifecycle = new Lifecycle()
  const collection = new WebSocketCollection(settings, lifecycle, app.log)
  const shutdown = new Shutdown(lifecycle, settings.shutdown, app.log)
  const firstRequests = new FirstRequests(app.server as Server) // a server of the application's own stays open when the app closes, with its clients

  if (settings.preClose !== undefined) app.addHook('preClose', withoutFailing(settings.preClose, app.log)) // first, while all clients are connected
  app.addHook('preClose', async () => { firstRequests.destroyIn(settings.shutdown.timeout) })
  for (const hook of shutdown.preCloseHooks(pluginTimeout)) app.addHook('preClose', hook)
  await registerUpstream(app, settings, collection.bus, (...upgrade) => listener.serverOnUpgrade(...upgrade))
  decorateRequests(app)

  const context = newUpgradeContext(app, settings, collection)
  const listener = new UpgradeListener(app, server, context, firstRequests)
  firstRequests.watch()
  listener.start()
  app.addHook('onReady', async () => {
    context.foreignPlugins = adoptForeignPlugins(app, server)
    context.hasResponseHooks = hasResponseHooks(app)
  })
  app.addHook('onClose', async () => { listener.stop() }) // no sooner: until then it answers 503
  app.close = closeWithoutDeadlock(app, lifecycle)
  app.decorate('webSockets', collection)
  app.decorate('injectWebSocketAsync', injectInto(app, server, settings))
}

function newUpgradeContext (app: FastifyInstance, settings: Settings, collection: WebSocketCollection): UpgradeContext {
  return {
    server: app.websocketServer,
    foreignPlugins: [], // until the app is ready
    hasResponseHooks: false, // likewise
    settings,
    admission: new Admission(settings, collection),
    collection,
    lifecycle: collection.lifecycle,
    log: app.log
  }
}

/** A plugin for Fastify 5: `await app.register(websocketAsync)`, then `await request.getWebSocketAsync()` in a handler. */
export const fastifyWebSocketAsync = fp(websocketAsync, { name: 'fastify-websocket-async', fastify: '^5.10.0 || ^6.0.0-0' })

export default fastifyWebSocketAsync

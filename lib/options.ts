import type { WebsocketPluginOptions } from '@fastify/websocket'
import type { PerMessageDeflateOptions } from 'ws'
import { badOption, durationOption } from './arguments.js'
import { assertClose } from './close.js'

type UpstreamOptions = NonNullable<WebsocketPluginOptions['options']>

export interface ShutdownOptions {
  /** The code in the close frame. @default 1001 */
  readonly code?: number | undefined
  /** The reason in the close frame, at most 123 bytes. @default 'server shutting down' */
  readonly reason?: string | undefined
  /** For how many ms a handler may go on with what it has received before its connection is closed. @default 5000 */
  readonly grace?: number | undefined
  /** After how many ms what is left is terminated and no handler is waited for any longer. @default 10000 */
  readonly timeout?: number | undefined
}

/** Options of the plugin. Times are in ms, sizes in bytes. */
export interface WebSocketAsyncOptions {
  /** The largest message that is received; a larger one closes the connection with 1009. @default the app's `bodyLimit` */
  readonly maxPayload?: number | undefined
  /** The default `timeout` of `receiveMessageAsync`; iteration ignores it. @default Infinity */
  readonly receiveTimeout?: number | undefined
  /** From the upgrade request to its acceptance or its HTTP answer; then its TCP connection is destroyed. @default 10000 */
  readonly upgradeTimeout?: number | undefined
  /** How long the peer may take to answer our close frame; then the TCP connection is destroyed. @default 10000 */
  readonly closeTimeout?: number | undefined
  /** What `app.close()` does. */
  readonly shutdown?: ShutdownOptions | undefined
  /** permessage-deflate (RFC 7692): `true`, or the options of `ws` for it. @default false */
  readonly compression?: boolean | PerMessageDeflateOptions | undefined
  /** Options of the `ws` server, as in `@fastify/websocket`. */
  readonly options?: UpstreamOptions | undefined
  /** Called with what a `{ websocket: true }` or `wsHandler` handler throws, as in `@fastify/websocket`. */
  readonly errorHandler?: WebsocketPluginOptions['errorHandler'] | undefined
  /** Replaces what `@fastify/websocket` does before the app closes; the teardown of this plugin still runs. */
  readonly preClose?: WebsocketPluginOptions['preClose'] | undefined
}

/** The options with every default filled in. */
export interface Settings {
  readonly receiveTimeout: number
  readonly upgradeTimeout: number
  readonly shutdown: Readonly<{ code: number, reason: string, grace: number, timeout: number }>
  readonly errorHandler: WebsocketPluginOptions['errorHandler'] | undefined
  readonly preClose: WebsocketPluginOptions['preClose'] | undefined
  readonly server: WebSocketServerOptions
}

/** What the `ws` server is made with: its types do not name them all. */
export interface WebSocketServerOptions extends UpstreamOptions {
  closeTimeout: number
  maxPendingAutoPongs?: number
}

/**
 * @param bodyLimit the app's, in bytes
 * @throws FST_WSA_BAD_OPTION, FST_WSA_INVALID_CLOSE
 */
export function readOptions (options: WebSocketAsyncOptions, bodyLimit: number): Settings {
  for (const name of ['errorHandler', 'preClose'] as const) {
    const value = options[name]
    if (value !== undefined && typeof value !== 'function') throw badOption(name, 'a function', value)
  }
  return Object.freeze({
    receiveTimeout: durationOption('receiveTimeout', options.receiveTimeout, Infinity),
    upgradeTimeout: durationOption('upgradeTimeout', options.upgradeTimeout, 10_000),
    shutdown: readShutdown(options.shutdown),
    errorHandler: options.errorHandler,
    preClose: options.preClose,
    server: readServerOptions(options, bodyLimit)
  })
}

function finite (name: string, value: number): number {
  if (value === Infinity) throw badOption(name, 'a finite time: without one, closing could last for ever', value)
  return value
}

function readShutdown (options: ShutdownOptions = {}): Settings['shutdown'] {
  if (typeof options !== 'object' || options === null) throw badOption('shutdown', 'an object', options)
  const { code = 1001, reason = 'server shutting down' } = options
  assertClose(code, reason)
  const timeout = finite('shutdown.timeout', durationOption('shutdown.timeout', options.timeout, 10_000))
  const grace = durationOption('shutdown.grace', options.grace, Math.min(5_000, timeout))
  if (grace > timeout) throw badOption('shutdown.grace', `at most shutdown.timeout (${timeout})`, grace)
  return Object.freeze({ code, reason, grace, timeout })
}

function readServerOptions (options: WebSocketAsyncOptions, bodyLimit: number): WebSocketServerOptions {
  const { noServer, clientTracking, ...server } = options.options ?? {}
  if (noServer !== undefined) throw badOption('options.noServer', 'nothing: the plugin sets it', noServer)
  if (clientTracking === false) throw badOption('options.clientTracking', 'true: app.close() needs it', clientTracking)
  return {
    // Answers to pings that wait for the network. ws drops the connection at 60, which one write of an honest client
    // can exceed; a few thousand of at most 127 bytes are still bounded.
    maxPendingAutoPongs: 4096,
    ...server,
    maxPayload: readMaxPayload(options, bodyLimit),
    closeTimeout: finite('closeTimeout', durationOption('closeTimeout', options.closeTimeout, 10_000)),
    perMessageDeflate: readCompression(options)
  }
}

function readMaxPayload ({ maxPayload, options }: WebSocketAsyncOptions, bodyLimit: number): number {
  if (maxPayload !== undefined && options?.maxPayload !== undefined) {
    throw badOption('options.maxPayload', 'only one of maxPayload and options.maxPayload', options.maxPayload)
  }
  const value = maxPayload ?? options?.maxPayload ?? bodyLimit
  if (!Number.isSafeInteger(value) || value < 1) throw badOption('maxPayload', 'a positive number of bytes', value)
  return value
}

function readCompression ({ compression, options }: WebSocketAsyncOptions): boolean | PerMessageDeflateOptions {
  if (compression !== undefined && options?.perMessageDeflate !== undefined) {
    throw badOption('options.perMessageDeflate', 'only one of compression and options.perMessageDeflate', options.perMessageDeflate)
  }
  const value = compression ?? options?.perMessageDeflate ?? false
  if (typeof value !== 'boolean' && (typeof value !== 'object' || value === null)) {
    throw badOption('compression', 'a boolean or an object', value)
  }
  return value
}

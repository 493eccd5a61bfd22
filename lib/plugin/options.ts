import type { WebsocketPluginOptions } from '@fastify/websocket'
import type { PerMessageDeflateOptions } from 'ws'
import { assertNames, badOption, durationOption, type Names } from '../base/validation.js'
import type { PubSub } from '../topics/bus.js'
import { assertClose } from '../base/close.js'
import type { KeepAliveOptions } from '../connection/keep-alive.js'
import type { ShutdownSettings } from '../app/shutdown.js'
import type { ConnectionSettings } from '../connection/connection-settings.js'
import type { AdmissionLimits } from '../upgrade/admission.js'
import type { UpgradeSettings } from '../upgrade/attempt.js'
import { originRule, type OriginOption } from '../upgrade/origin.js'
import { FRAMES_IN_A_READ, receiveLimits, type Amount } from '../receive/receive-limits.js'

type UpstreamOptions = NonNullable<WebsocketPluginOptions['options']>

export interface ShutdownOptions {
  /** The code in the close frame. @default 1001 */
  readonly code?: number | undefined
  /** The reason in the close frame, at most 123 bytes. @default 'server shutting down' */
  readonly reason?: string | undefined
  /** How long a handler may go on with the messages that it has received, in ms; then its connection is closed. @default 5000 */
  readonly grace?: number | undefined
  /** How long the whole shutdown takes at most, in ms. Shortly before, the remaining connections are terminated. @default 8000 */
  readonly timeout?: number | undefined
  /** The time over which the connections are closed one after another, in ms. @default 0, all at once */
  readonly spread?: number | undefined
}

/** Options of the plugin. Times are in ms, sizes in bytes. */
export interface WebSocketAsyncOptions {
  /**
   * Which web pages may open a connection: `'same-origin'`, `'*'`, an origin, a RegExp, an array of these, or a function. A
   * request without an Origin header, which no browser sends, is always allowed. @default 'same-origin'
   */
  readonly origin?: OriginOption | undefined
  /** The most connections that are open at a time. Above, an upgrade is refused with 503. @default Infinity */
  readonly maxConnections?: number | undefined
  /**
   * How many messages may wait to be received, and how many bytes of memory they may take. Above either limit, reading from TCP
   * pauses, and it resumes at a quarter of both. @default { messages: 64, bytes: 1048576 }
   */
  readonly receiveHighWaterMark?: { readonly messages?: number | undefined, readonly bytes?: number | undefined } | undefined
  /** From how many unsent bytes of memory on `sendAsync` waits. @default 65536 */
  readonly sendHighWaterMark?: number | undefined
  /** From how many unsent bytes of memory on `slowConsumer` applies. A caller that awaits its sends does not get there. @default 16777216 */
  readonly maxBufferedBytes?: number | undefined
  /** What happens at `maxBufferedBytes`: `'close'` closes the connection with 1013, `'drop'` drops the message. @default 'close' */
  readonly slowConsumer?: 'close' | 'drop' | undefined
  /** Protocol pings for every connection. `false` turns them off. */
  readonly keepAlive?: KeepAliveOptions | false | undefined
  /** The largest message that is received, in bytes. A larger one closes the connection with 1009. @default the app's `bodyLimit` */
  readonly maxPayload?: number | undefined
  /** The default `timeout` of `receiveMessageAsync`, in ms. Iteration ignores it. @default Infinity */
  readonly receiveTimeout?: number | undefined
  /**
   * The time from an upgrade request to its acceptance or to the start of its HTTP answer, in ms. It is also the time, but at least
   * 1 s, in which the client has to take a part of that answer. Then the TCP connection is destroyed. @default 10000
   */
  readonly upgradeTimeout?: number | undefined
  /** How long the peer may take to answer our close frame, in ms. Then the TCP connection is destroyed. @default 10000 */
  readonly closeTimeout?: number | undefined
  /** What `app.close()` does. */
  readonly shutdown?: ShutdownOptions | undefined
  /** permessage-deflate (RFC 7692): `true`, or the options that `ws` has for it. @default false */
  readonly compression?: boolean | PerMessageDeflateOptions | undefined
  /**
   * What happens when an upgrade is accepted with the identifier of an open connection: `'replace'` closes the open connection with
   * 4409, `'reject'` answers the upgrade with 409. @default 'replace'
   */
  readonly duplicateIdentifier?: 'replace' | 'reject' | undefined
  /**
   * An MQEmitter, such as `mqemitter-redis`, which carries publications to the subscribers of other nodes. The plugin does not close
   * it. @default none: publications stay in this process
   */
  readonly pubsub?: PubSub | undefined
  /** Options for the server of `ws`, as in `@fastify/websocket`. */
  readonly options?: UpstreamOptions | undefined
  /** Called when a `{ websocket: true }` or `wsHandler` handler throws, as in `@fastify/websocket`. */
  readonly errorHandler?: WebsocketPluginOptions['errorHandler'] | undefined
  /** Replaces what `@fastify/websocket` does before the app closes. It runs before this plugin closes the connections. */
  readonly preClose?: WebsocketPluginOptions['preClose'] | undefined
}

const NAMES: Names<WebSocketAsyncOptions> = {
  origin: true,
  maxConnections: true,
  receiveHighWaterMark: true,
  sendHighWaterMark: true,
  maxBufferedBytes: true,
  slowConsumer: true,
  keepAlive: true,
  maxPayload: true,
  receiveTimeout: true,
  upgradeTimeout: true,
  closeTimeout: true,
  shutdown: true,
  compression: true,
  duplicateIdentifier: true,
  pubsub: true,
  options: true,
  errorHandler: true,
  preClose: true
}

/** Options of `app.register()` itself, which Fastify passes on to the plugin. */
const REGISTER_NAMES = { prefix: true, logLevel: true, logSerializers: true } as const

const SHUTDOWN_NAMES: Names<ShutdownOptions> = { code: true, reason: true, grace: true, timeout: true, spread: true }

const KEEP_ALIVE_NAMES: Names<KeepAliveOptions> = { interval: true, timeout: true }

const MARK_NAMES: Names<Amount> = { messages: true, bytes: true }

/** The options with every default filled in. Each folder declares the settings that it uses itself. */
export interface Settings extends ConnectionSettings, UpgradeSettings, AdmissionLimits {
  readonly pubsub: PubSub | null
  readonly shutdown: ShutdownSettings
  readonly errorHandler: WebsocketPluginOptions['errorHandler'] | undefined
  readonly preClose: WebsocketPluginOptions['preClose'] | undefined
  readonly server: WebSocketServerOptions
}

/** The options of the server of `ws`. Its types do not name them all. */
export interface WebSocketServerOptions extends UpstreamOptions {
  closeTimeout: number
  maxPayload: number
  maxPendingAutoPongs?: number
}

/**
 * @param bodyLimit the app's, in bytes
 * @throws FST_WSA_BAD_OPTION, FST_WSA_INVALID_CLOSE
 */
export function readOptions (options: WebSocketAsyncOptions, bodyLimit: number): Settings {
  assertNames(options, { ...NAMES, ...REGISTER_NAMES }, badOption)
  const mark = readReceiveHighWaterMark(options.receiveHighWaterMark)
  const server = readServerOptions(options, bodyLimit)
  return Object.freeze({
    origin: originRule(options.origin ?? 'same-origin'),
    maxConnections: amount('maxConnections', options.maxConnections, Infinity),
    receiveLimits: Object.freeze(receiveLimits(mark, server.maxPayload)),
    sendLimits: Object.freeze({
      highWaterMark: amount('sendHighWaterMark', options.sendHighWaterMark, 64 * 1024),
      maxBufferedBytes: amount('maxBufferedBytes', options.maxBufferedBytes, 16 * 1024 * 1024)
    }),
    slowConsumer: oneOf('slowConsumer', ['close', 'drop'], options.slowConsumer),
    duplicateIdentifier: oneOf('duplicateIdentifier', ['replace', 'reject'], options.duplicateIdentifier),
    pubsub: readPubSub(options.pubsub),
    keepAlive: readKeepAlive(options.keepAlive),
    receiveTimeout: durationOption('receiveTimeout', options.receiveTimeout, Infinity),
    upgradeTimeout: durationOption('upgradeTimeout', options.upgradeTimeout, 10_000),
    shutdown: readShutdown(options.shutdown),
    errorHandler: functionOption('errorHandler', options.errorHandler),
    preClose: functionOption('preClose', options.preClose),
    server
  })
}

/** The first choice is the default. */
function oneOf<Choice extends string> (name: string, choices: readonly [Choice, Choice], value: Choice = choices[0]): Choice {
  if (!choices.includes(value)) throw badOption(name, `'${choices[0]}' or '${choices[1]}'`, value)
  return value
}

function functionOption<F> (name: string, value: F | undefined): F | undefined {
  if (value !== undefined && typeof value !== 'function') throw badOption(name, 'a function', value)
  return value
}

function amount (name: string, value: number | undefined, byDefault: number): number {
  if (value === undefined) return byDefault
  if (value !== Infinity && (!Number.isSafeInteger(value) || value < 1)) throw badOption(name, 'a positive number', value)
  return value
}

function readReceiveHighWaterMark (options: WebSocketAsyncOptions['receiveHighWaterMark'] = {}): Amount {
  assertObject('receiveHighWaterMark', options, MARK_NAMES)
  return Object.freeze({
    messages: amount('receiveHighWaterMark.messages', options.messages, 64),
    bytes: amount('receiveHighWaterMark.bytes', options.bytes, 1024 * 1024)
  })
}

function readKeepAlive (options: WebSocketAsyncOptions['keepAlive'] = {}): Settings['keepAlive'] {
  if (options === false) return null
  assertObject('keepAlive', options, KEEP_ALIVE_NAMES)
  const read = (name: 'interval' | 'timeout', byDefault: number) => {
    const value = finite(`keepAlive.${name}`, durationOption(`keepAlive.${name}`, options[name], byDefault))
    if (value === 0) throw badOption(`keepAlive.${name}`, 'more than 0', value)
    return value
  }
  return Object.freeze({ interval: read('interval', 25_000), timeout: read('timeout', 20_000) })
}

function readPubSub (pubsub: PubSub | undefined): PubSub | null {
  if (pubsub === undefined) return null
  if (typeof pubsub === 'object' && pubsub !== null && [pubsub.on, pubsub.removeListener, pubsub.emit].every((method) => typeof method === 'function')) return pubsub
  throw badOption('pubsub', 'an MQEmitter, which has on(), removeListener() and emit()', pubsub)
}

function assertObject (name: string, value: unknown, names: Readonly<Record<string, true>>): void {
  if (typeof value !== 'object' || value === null) throw badOption(name, 'an object', value)
  assertNames(value, names, badOption, `${name}.`)
}

function finite (name: string, value: number): number {
  if (value === Infinity) throw badOption(name, 'a finite time', value)
  return value
}

function readShutdown (options: ShutdownOptions = {}): ShutdownSettings {
  assertObject('shutdown', options, SHUTDOWN_NAMES)
  const { code = 1001, reason = 'server shutting down' } = options
  assertClose(code, reason)
  const timeout = finite('shutdown.timeout', durationOption('shutdown.timeout', options.timeout, 8_000))
  const spread = durationOption('shutdown.spread', options.spread, 0)
  const grace = durationOption('shutdown.grace', options.grace, Math.max(0, Math.min(5_000, timeout - spread)))
  if (spread + grace > timeout) {
    throw badOption('shutdown', `spread + grace of at most the timeout (${timeout})`, { spread, grace })
  }
  return Object.freeze({ code, reason, grace, timeout, spread })
}

function readServerOptions (options: WebSocketAsyncOptions, bodyLimit: number): WebSocketServerOptions {
  const { noServer, clientTracking, ...server }: UpstreamOptions & { maxPendingAutoPongs?: number } = options.options ?? {}
  if (noServer !== undefined) throw badOption('options.noServer', 'nothing: the plugin sets it', noServer)
  if (clientTracking === false) throw badOption('options.clientTracking', 'true: app.close() needs it', clientTracking)
  const maxPayload = readMaxPayload(options, bodyLimit)
  return {
    ...server,
    // How many answers to pings may wait for the network before ws drops the connection. By default 60, which an honest client can
    // exceed with one write. One read of a socket has at most this many pings, whose answers take some MiB
    maxPendingAutoPongs: server.maxPendingAutoPongs ?? FRAMES_IN_A_READ,
    maxFragments: server.maxFragments ?? Math.max(64, Math.ceil(maxPayload / SMALL_FRAGMENT)),
    maxBufferedChunks: server.maxBufferedChunks ?? Math.max(1024, Math.ceil(maxPayload / SMALL_CHUNK)),
    maxPayload,
    closeTimeout: readCloseTimeout(options),
    perMessageDeflate: readCompression(options)
  }
}

/**
 * The number of fragments is limited so that a message of the largest size may come in fragments of this size, in bytes. Each fragment
 * takes some memory beside its payload, however small it is: 8 KiB if its payload comes in two reads.
 */
const SMALL_FRAGMENT = 512

/** The same for the number of reads in which a frame may come, in bytes. It is less than one packet carries. */
const SMALL_CHUNK = 512

/** ws converts the limit to a 32-bit integer, so a larger one would wrap around. */
const MAX_PAYLOAD = 2 ** 31 - 1

function readCloseTimeout ({ closeTimeout, options }: WebSocketAsyncOptions): number {
  const { closeTimeout: upstream } = (options ?? {}) as { closeTimeout?: number } // the types of ws do not name it
  if (closeTimeout !== undefined && upstream !== undefined) {
    throw badOption('options.closeTimeout', 'only one of closeTimeout and options.closeTimeout', upstream)
  }
  return finite('closeTimeout', durationOption('closeTimeout', closeTimeout ?? upstream, 10_000))
}

function readMaxPayload ({ maxPayload, options }: WebSocketAsyncOptions, bodyLimit: number): number {
  if (maxPayload !== undefined && options?.maxPayload !== undefined) {
    throw badOption('options.maxPayload', 'only one of maxPayload and options.maxPayload', options.maxPayload)
  }
  const value = maxPayload ?? options?.maxPayload ?? Math.min(bodyLimit, MAX_PAYLOAD)
  if (!Number.isSafeInteger(value) || value < 1 || value > MAX_PAYLOAD) {
    throw badOption('maxPayload', `a number of bytes from 1 to ${MAX_PAYLOAD}`, value)
  }
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

import type { IncomingHttpHeaders, IncomingMessage, Server } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { assertOptions, invalidArgument, type Names } from '../base/validation.js'
import { isHeaderField, isToken } from '../base/http.js'
import { AsyncWebSocket } from '../connection/async-web-socket.js'
import type { ConnectionOwner } from '../connection/connection-parts.js'
import type { ConnectionSettings } from '../connection/connection-settings.js'
import type { LiveConnection } from '../connection/live-connection.js'
import { observed, type ObservedSocket } from '../connection/observed-socket.js'
import { streamPair, type StreamEnd } from './stream-pair.js'

export interface InjectOptions {
  /** Headers of the upgrade request, in addition to those of the handshake. @default a Host of `localhost` alone */
  readonly headers?: Record<string, string> | undefined
  /** The subprotocols to offer. @default none */
  readonly subprotocols?: string | string[] | undefined
  /** The address of the client that the app sees. @default '127.0.0.1' */
  readonly remoteAddress?: string | undefined
}

const OPTIONS: Names<InjectOptions> = { headers: true, subprotocols: true, remoteAddress: true }

/** What a client needs: the settings of a connection, with the `closeTimeout` of the server. */
type ClientSettings = ConnectionSettings

/** The server answered HTTP instead of accepting the upgrade. */
export class InjectRefusedError extends Error {
  override readonly name = 'InjectRefusedError'
  readonly statusCode: number
  readonly headers: IncomingHttpHeaders
  readonly body: string

  constructor (statusCode: number, headers: IncomingHttpHeaders, body: string) {
    super(`The server answered the upgrade with ${statusCode}: ${body}`)
    this.statusCode = statusCode
    this.headers = headers
    this.body = body
  }

  /** The body parsed as JSON. @throws SyntaxError */
  json<T = unknown> (): T {
    return JSON.parse(this.body) // JSON.parse returns `any`: the caller names the type
  }
}

/** A client within this process, for tests. It has the methods of the server's connection, and others that let it behave badly. */
export class InjectedWebSocket extends AsyncWebSocket {
  /** A client has no request. */
  declare readonly request: never
  readonly #stream: StreamEnd

  /** @internal */
  constructor (socket: ObservedSocket, stream: StreamEnd, settings: ClientSettings) {
    super({ socket, transport: stream, request: undefined as never, settings, identifier: null, owner: NO_OWNER })
    this.#stream = stream
    this.startReceiving()
  }

  /** Stops reading: what the server sends piles up on the server. */
  pause (): void {
    this.socket.pause()
  }

  /** Starts reading again after `pause()`. */
  resume (): void {
    this.socket.resume()
  }

  /** Never answers the server's close frame, from now on. */
  ignoreClose (): void {
    this.socket.close = () => {}
  }

  /** Ends the client's side of the TCP connection, without a close frame, and keeps reading. */
  halfClose (): void {
    this.#stream.end()
  }
}

/** No app owns a client. */
const NO_OWNER: ConnectionOwner<LiveConnection> = { lifecycle: { isClosing: false }, wheel: null, topics: null, delete () {}, dropped () {} }

/** `app.injectWebSocketAsync` */
export function injectInto (app: FastifyInstance, server: Server, settings: ClientSettings) {
  // The class of the server's sockets extends a class of `ws` with our events. That class can also connect as a client
  const Client = observed(Object.getPrototypeOf(app.websocketServer.options.WebSocket))
  const clientSettings: ClientSettings = { ...settings, keepAlive: null, receiveTimeout: Infinity }

  return async function injectWebSocketAsync (path: string, options: InjectOptions = {}): Promise<InjectedWebSocket> {
    assertOptions(options, OPTIONS, '{ headers: {} }')
    const { headers = {}, subprotocols = [], remoteAddress = '127.0.0.1' } = options
    assertPath(path)
    assertHeaders(headers)
    assertSubprotocols(subprotocols)
    if (typeof remoteAddress !== 'string') throw invalidArgument('remoteAddress', 'a string', remoteAddress)
    await app.ready()
    const [near, far] = streamPair()
    far.remoteAddress = remoteAddress
    server.emit('connection', far)
    return new Promise((resolve, reject) => {
      const clientOptions = { headers, createConnection: () => near, closeTimeout: settings.server.closeTimeout }
      const socket = new Client(`ws://localhost${path}`, subprotocols, clientOptions)
      // Nothing that the server has sent is read before this listener returns
      socket.on('open', () => resolve(new InjectedWebSocket(socket as ObservedSocket, near, clientSettings)))
      socket.on('error', reject)
      socket.on('unexpected-response', (_request, response: IncomingMessage) => {
        readBody(response).then((body) => reject(new InjectRefusedError(response.statusCode as number, response.headers, body)), reject) // a response has a status
          .finally(() => near.destroy())
      })
    })
  }
}

// Without a slash it would become a part of the host name
function assertPath (path: string): void {
  if (typeof path !== 'string' || !path.startsWith('/') || path.includes('#')) {
    throw invalidArgument('path', 'a path that begins with a slash, without a fragment', path)
  }
}

function assertHeaders (headers: Record<string, string>): void {
  if (typeof headers !== 'object' || headers === null || Array.isArray(headers)) throw invalidArgument('headers', 'an object', headers)
  for (const [name, value] of Object.entries(headers)) {
    if (!isHeaderField(name, value)) throw invalidArgument(`headers["${name}"]`, 'a name and a value that are valid in a header', value)
  }
}

function assertSubprotocols (subprotocols: string | string[]): void {
  const names = [subprotocols].flat()
  if (new Set(names).size !== names.length || !names.every((name) => typeof name === 'string' && isToken(name))) {
    throw invalidArgument('subprotocols', 'a token, or an array of different tokens', subprotocols)
  }
}

async function readBody (response: IncomingMessage): Promise<string> {
  let body = ''
  for await (const chunk of response.setEncoding('utf8')) body += chunk
  return body
}

import type { IncomingHttpHeaders, IncomingMessage, Server } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { assertOptions, invalidArgument, type Names } from '../base/validation.js'
import { isHeaderField, isToken } from '../base/http.js'
import { AsyncWebSocket } from '../connection/async-web-socket.js'
import type { ConnectionOwner, ConnectionParts } from '../connection/live-connection.js'
import { observed, type ObservedSocket } from '../connection/observed-socket.js'
import { streamPair, type StreamEnd } from './stream-pair.js'

export interface InjectOptions {
  /** Headers of the upgrade request. @default a Host of `localhost`, and none else beside the handshake's */
  readonly headers?: Record<string, string> | undefined
  /** The subprotocols to offer. @default none */
  readonly subprotocols?: string | string[] | undefined
  /** What the app sees as the address of the client. @default '127.0.0.1' */
  readonly remoteAddress?: string | undefined
}

const OPTIONS: Names<InjectOptions> = { headers: true, subprotocols: true, remoteAddress: true }

/** What a client needs: the settings of a connection, with the `closeTimeout` of the server. */
type ClientSettings = ConnectionParts['settings']

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

/**
 * A client in the same process, for tests: it is awaited as the server's connection is, and can behave badly on demand.
 */
export class InjectedWebSocket extends AsyncWebSocket {
  /** A client has none. */
  declare readonly request: never
  readonly #stream: StreamEnd

  /** @internal */
  constructor (socket: ObservedSocket, stream: StreamEnd, settings: ClientSettings) {
    super({ socket, transport: stream, request: undefined as never, settings, identifier: null, owner: NOBODY })
    this.#stream = stream
    this.startReceiving()
  }

  /** Stops to read: what the server sends piles up on its side. */
  pause (): void {
    this.socket.pause()
  }

  /** Reads on after `pause()`. */
  resume (): void {
    this.socket.resume()
  }

  /** From here on the server's close frame is not answered. */
  ignoreClose (): void {
    this.socket.close = () => {}
  }

  /** Ends the client's side of the TCP connection, without a close frame, and reads on. */
  halfClose (): void {
    this.#stream.end()
  }
}

/** A client belongs to the test alone. */
const NOBODY: ConnectionOwner = { isClosing: false, wheel: null, topics: null, delete () {}, dropped () {} }

/** `app.injectWebSocketAsync` */
export function injectInto (app: FastifyInstance, server: Server, settings: ClientSettings) {
  // What the server of `ws` makes connections of is its class, with our events: their common base connects as well
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
      // Before this listener returns nothing of what the server has sent is read
      socket.on('open', () => resolve(new InjectedWebSocket(socket as ObservedSocket, near, clientSettings)))
      socket.on('error', reject)
      socket.on('unexpected-response', (_request, response: IncomingMessage) => {
        readBody(response).then((body) => reject(new InjectRefusedError(response.statusCode as number, response.headers, body)), reject) // a response has a status
          .finally(() => near.destroy())
      })
    })
  }
}

// Behind a host a path without a slash would be a part of its name
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

import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect as connectTls, TLSSocket } from 'node:tls'
import { newPromise } from './promise.js'

const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='
const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=' // the answer to KEY (RFC 6455, section 1.3)
const HEAD_END = Buffer.from('\r\n\r\n')
const AT_ONCE = 64 // connections that are opened together: fewer than a listener's backlog holds

// All connections read into this buffer, so a chunk is valid only during the call that gets it
const shared = Buffer.alloc(64 * 1024)

/** How a connection is made. */
export interface ConnectOptions {
  readonly isCompressed?: boolean
  readonly isEncrypted?: boolean
}

/** A WebSocket client that only carries bytes. */
export class Connection {
  readonly socket: Socket
  /** Resolves to the head of the 101 response. */
  readonly opened: Promise<string>
  /** Called with each chunk that comes. */
  onBytes: (chunk: Buffer) => void = () => {}
  /** Called with the reason when the connection ends, except by `destroy()`. */
  onLoss: (error: Error) => void = () => {}
  #isWanted = true

  constructor (port: number, path: string, { isCompressed = false, isEncrypted = false }: ConnectOptions = {}) {
    let onOpen: (head: string) => void = () => {}
    let onHead = Buffer.alloc(0)
    let isOpen = false
    const takeHead = (chunk: Buffer) => {
      onHead = Buffer.concat([onHead, chunk])
      const end = onHead.indexOf(HEAD_END)
      if (end === -1) return
      isOpen = true
      onOpen(onHead.toString('latin1', 0, end))
    }
    const take = (chunk: Buffer) => {
      if (isOpen) this.onBytes(chunk)
      else takeHead(chunk)
    }
    this.socket = isEncrypted ? openEncrypted(port, take) : open(port, take)
    this.opened = new Promise((resolve, reject) => {
      const lose = (error: Error) => {
        if (!this.#isWanted) return
        this.#isWanted = false
        reject(error)
        this.onLoss(error)
      }
      onOpen = (head) => head.startsWith('HTTP/1.1 101 ') && head.includes(ACCEPT) ? resolve(head) : lose(new Error(`The server answered ${head}`))
      this.socket.on('error', lose)
      this.socket.on('close', () => lose(new Error('The server has closed the connection')))
    })
    this.opened.catch(() => {}) // the caller that awaits it handles the rejection
    this.socket.write(requestHead(path, isCompressed))
  }

  /** Cuts the connection off, by a reset if it can, because a reset leaves no port in TIME_WAIT. */
  destroy (): void {
    this.#isWanted = false
    if (this.socket instanceof TLSSocket) this.socket.destroy() // a TLS socket cannot be reset
    else this.socket.resetAndDestroy()
  }
}

function open (port: number, onChunk: (chunk: Buffer) => void): Socket {
  const callback = (size: number) => {
    onChunk(shared.subarray(0, size))
    return true
  }
  return connect({ port, host: '127.0.0.1', noDelay: true, onread: { buffer: shared, callback } })
}

function openEncrypted (port: number, onChunk: (chunk: Buffer) => void): Socket {
  const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false }) // the server's certificate is self-signed
  socket.setNoDelay(true)
  return socket.on('data', onChunk)
}

function requestHead (path: string, isCompressed: boolean): string {
  return [
    `GET ${path} HTTP/1.1`,
    'Host: localhost',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${KEY}`,
    ...(isCompressed ? ['Sec-WebSocket-Extensions: permessage-deflate'] : []),
    '\r\n'
  ].join('\r\n')
}

/** Resolves when all connections are open. */
export async function connectAll (count: number, port: number, path: string, options: ConnectOptions = {}): Promise<Connection[]> {
  const connections: Connection[] = []
  while (connections.length < count) {
    const some = Array.from({ length: Math.min(AT_ONCE, count - connections.length) }, () => new Connection(port, path, options))
    connections.push(...some)
    const heads = await Promise.all(some.map(({ opened }) => opened))
    if (heads.some((head) => /permessage-deflate/i.test(head) !== (options.isCompressed ?? false))) throw new Error('Compression was not negotiated as it should be')
  }
  return connections
}

/** Rejects when one of the connections ends without `destroy()`. */
export function lossOf (connections: readonly Connection[]): Promise<never> {
  const { promise, reject } = newPromise<never>()
  for (const connection of connections) connection.onLoss = reject
  promise.catch(() => {})
  return promise
}

/** Cuts the connections off. Resolves when the server should have finished with them, which it has to before it is measured again. */
export async function endAll (connections: readonly Connection[]): Promise<void> {
  for (const connection of connections) connection.destroy()
  await sleep(60 + connections.length / 4)
}

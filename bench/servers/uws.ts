/** The server for uWebSockets.js: `node --import tsx bench/servers/uws.ts [--tls]`. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { newCertificate } from '../../test/fixtures/processes/certificate.js'
import { answerQuestions } from '../processes/child.js'
import { BURST, BURST_TEXT } from '../scenarios.js'

interface UwsSocket {
  send (text: string): number
  subscribe (topic: string): boolean
}
interface UwsApp {
  ws (path: string, behavior: Behavior): UwsApp
  publish (topic: string, text: string): boolean
  listen (host: string, port: number, onListening: (token: unknown) => void): UwsApp
}
interface Behavior {
  readonly maxPayloadLength?: number
  readonly maxBackpressure?: number
  readonly idleTimeout?: number
  readonly sendPingsAutomatically?: boolean
  open? (socket: UwsSocket): void
  message? (socket: UwsSocket, message: ArrayBuffer): void
}
interface Uws {
  App (): UwsApp
  SSLApp (options: { key_file_name: string, cert_file_name: string }): UwsApp
  us_socket_local_port (token: unknown): number
}

const PACKAGE: string = 'uwebsockets' // in a variable, because it is not among the packages that are always installed
const { default: uws } = await import(PACKAGE) as { default: Uws } // the package's own types need it to be installed

// It reads the key and the certificate from a file when it is made
function newSecureApp (): UwsApp {
  const directory = mkdtempSync(join(tmpdir(), 'bench-uws-'))
  const file = join(directory, 'certificate.pem')
  try {
    const { key, cert } = newCertificate()
    writeFileSync(file, key + cert, { mode: 0o600 })
    return uws.SSLApp({ key_file_name: file, cert_file_name: file })
  } finally {
    rmSync(directory, { recursive: true })
  }
}

const app = process.argv.includes('--tls') ? newSecureApp() : uws.App()
const limits = { maxPayloadLength: 1024 * 1024, maxBackpressure: 16 * 1024 * 1024, idleTimeout: 0, sendPingsAutomatically: false }
const textOf = (message: ArrayBuffer) => Buffer.from(message).toString()

app.ws('/echo', { ...limits, message: (socket, message) => { socket.send(textOf(message)) } })
app.ws('/burst', { ...limits, message: (socket) => { for (let i = 0; i < BURST; i++) socket.send(BURST_TEXT) } })
app.ws('/fan-out', {
  ...limits,
  open: (socket) => { socket.subscribe('all') },
  message: (_socket, message) => { app.publish('all', textOf(message)) }
})
app.ws('/idle', limits)

const port = await new Promise<number>((resolve) => {
  app.listen('127.0.0.1', 0, (token) => resolve(uws.us_socket_local_port(token)))
})

answerQuestions({ port: () => port })

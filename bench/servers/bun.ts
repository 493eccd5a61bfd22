/** The server for Bun. */
import { answerQuestions } from '../processes/child.js'

interface BunSocket { send (data: string): void }
interface BunServer { readonly port: number, upgrade (request: Request): boolean }

declare const Bun: {
  serve (options: {
    hostname: string
    port: number
    fetch (request: Request, server: BunServer): Response | undefined
    websocket: { message (socket: BunSocket, message: string | Uint8Array): void }
  }): BunServer
}

const server = Bun.serve({
  hostname: '127.0.0.1',
  port: 0,
  fetch: (request, server) => server.upgrade(request) ? undefined : new Response(null, { status: 426 }),
  websocket: { message: (socket, message) => socket.send(message.toString()) }
})

answerQuestions({ port: () => server.port })

/** The server for Deno. */
import { answerQuestions } from '../processes/child.js'

interface DenoSocket {
  onmessage: (event: { data: string }) => void
  send (data: string): void
}

declare const Deno: {
  serve (options: { hostname: string, port: number, onListen (): void }, handler: (request: Request) => Response): { readonly addr: { readonly port: number } }
  upgradeWebSocket (request: Request, options: { idleTimeout: number }): { socket: DenoSocket, response: Response }
}

const server = Deno.serve({ hostname: '127.0.0.1', port: 0, onListen: () => {} }, (request) => {
  const { socket, response } = Deno.upgradeWebSocket(request, { idleTimeout: 0 })
  socket.onmessage = ({ data }) => socket.send(data)
  return response
})

answerQuestions({ port: () => server.addr.port })

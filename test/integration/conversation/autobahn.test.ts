import { createHash } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import fastifyWebsocket from '@fastify/websocket'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import type { WebSocket } from 'ws'
import { autobahnCases, type Answer, type Case } from '../../fixtures/autobahn-cases.js'
import { buildApp, listen } from '../../fixtures/app.js'
import { closeFrame, headerSize, readAllFrames } from '../../fixtures/frames.js'
import { MiB } from '../../fixtures/memory.js'
import { openRaw, type RawClient } from '../../fixtures/raw-client.js'

// The cases of the Autobahn test suite, by their numbers, without those of compression: an echo that awaits answers as one with events

const OPTIONS = { maxPayload: 16 * MiB, maxFragments: 100_000, maxBufferedChunks: 100_000 } // the types of ws do not name them all

/** A server that echoes, and the port it listens on. */
const styles: Record<string, (t: Test) => Promise<number>> = {
  async 'with events' (t) {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(fastifyWebsocket, { options: OPTIONS, errorHandler () {} }) // by default the close frame is lost at an error
    app.get('/', { websocket: true }, (socket: WebSocket) => {
      socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
    })
    return listen(app)
  },
  async awaited (t) {
    const app = await buildApp(t, { options: OPTIONS })
    app.get('/', async (request) => {
      const ws = await request.getWebSocketAsync()
      for await (const message of ws) await ws.sendAsync(message.isBinary ? message.bytes : message.getString())
    })
    return listen(app)
  }
}

/** All that came from the server, and how the connection ended. */
class Transcript {
  readonly #chunks: Buffer[] = []
  #size = 0
  #end: 'open' | 'ended' | 'reset' = 'open'
  #onChange = (): void => {}

  constructor ({ socket }: RawClient) {
    socket.removeAllListeners('data') // the raw client would copy all that came with each read
    socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk)
      this.#size += chunk.length
      this.#onChange()
    })
    socket.on('error', () => { this.#end = 'reset' })
    socket.on('close', () => {
      if (this.#end === 'open') this.#end = 'ended'
      this.#onChange()
    })
  }

  /** Resolves when so many bytes have come, or when no more will. */
  async bytes (size: number): Promise<void> {
    while (this.#size < size && this.#end === 'open') await new Promise<void>((resolve) => { this.#onChange = resolve })
  }

  get seen (): { frames: string[], end: string } {
    const frames = readAllFrames(Buffer.concat(this.#chunks)).map(({ opcode, payload }) => told({ opcode, payload }))
    return { frames, end: this.#end }
  }
}

function told ({ opcode, payload }: Answer): string {
  const shown = payload.length <= 125 ? payload.toString('latin1') : createHash('sha1').update(payload).digest('hex')
  return `opcode ${opcode}, ${payload.length} bytes: ${shown}`
}

const sizeOf = ({ payload: { length } }: Answer) => headerSize(length) + length

/** Runs a case, and gives what the client saw from its first to its last byte. */
async function run (t: Test, port: number, { exchanges, endsWith }: Case): Promise<{ frames: string[], end: string }> {
  const client = await openRaw(t, port, '/')
  const transcript = new Transcript(client)
  client.socket.setNoDelay(true)
  let size = 0
  for (const { writes, answers } of exchanges) {
    for (const [i, bytes] of writes.entries()) {
      client.write(bytes)
      if (writes.length > 1 && (writes.length < 1000 || i % 16 === 0)) await nextTurn()
    }
    size += answers.reduce((sum, answer) => sum + sizeOf(answer), 0)
    await transcript.bytes(size)
  }
  if (endsWith === undefined) client.write(closeFrame(1000))
  await transcript.bytes(Infinity)
  return transcript.seen
}

for (const [style, start] of Object.entries(styles)) {
  t.test(`an echo ${style}`, { timeout: 120_000 }, async (t) => {
    const port = await start(t)
    for (const [name, cases] of Object.entries(autobahnCases)) {
      t.test(name, async (t) => {
        for (const each of cases) {
          const answers = each.exchanges.flatMap(({ answers }) => answers)
          const close = { opcode: 8, payload: each.endsWith ?? Buffer.from([1000 >> 8, 1000 & 0xff]) }
          t.strictSame(await run(t, port, each), { frames: [...answers, close].map(told), end: 'ended' }, each.id)
        }
      })
    }
  })
}

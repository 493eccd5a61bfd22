import { Duplex, Writable } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { buildApp, listen } from '../../fixtures/app.js'
import { closeFrame, openRaw, type RawClient } from '../../fixtures/raw-client.js'

// To end a stream that has finished does nothing, but makes an error with its stack, which would be a tenth of the cost of an upgrade

/** The streams that are ended although they have finished, from here on. */
function watchEnds (t: Test): Set<Writable> {
  const late = new Set<Writable>()
  for (const { prototype } of [Writable, Duplex]) {
    const { end } = prototype
    prototype.end = function (this: Writable, ...args: any[]) {
      if (this.writableFinished || this.destroyed) late.add(this)
      return Reflect.apply(end, this, args)
    }
    t.teardown(() => { prototype.end = end })
  }
  return late
}

const UNMASKED = Buffer.from([0x81, 0x01, 0x61])

const ends: Record<string, (client: RawClient) => Promise<unknown>> = {
  'the peer has closed': async (client) => {
    client.write(closeFrame(1000))
    await client.close()
  },
  'the handler has closed': async (client) => {
    await client.close()
    client.write(closeFrame(1000))
  },
  'the peer has broken the protocol': (client) => {
    client.write(UNMASKED)
    return client.close()
  }
}

for (const [name, end] of Object.entries(ends)) {
  t.test(`no stream is ended again when ${name}`, async (t) => {
    const app = await buildApp(t)
    const closed = new Promise((resolve) => app.webSockets.on('close', resolve))
    app.get('/', async (request: FastifyRequest) => {
      const ws = await request.getWebSocketAsync()
      if (name === 'the handler has closed') return ws.closeAsync()
      return ws.closed
    })
    const client = await openRaw(t, await listen(app), '/')
    const late = watchEnds(t)
    await end(client)
    client.socket.end()
    await closed
    late.delete(client.socket)
    t.same([...late].map(({ constructor }) => constructor.name), [])
  })
}

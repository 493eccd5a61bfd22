import { randomUUID } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import type {} from '../index.js' // in your app: 'fastify-websocket-async'
import type { Member, Store } from './chat/store.js'

declare module '../index.js' {
  interface WebSocketData { member?: Member }
}

interface Visit {
  Params: { room: string }
  Querystring: { name: string }
}

const schema = {
  params: { type: 'object', properties: { room: { type: 'string', pattern: '^[\\w-]{1,32}$' } } },
  querystring: { type: 'object', required: ['name'], properties: { name: { type: 'string', minLength: 1, maxLength: 32 } } }
}

/** Chat rooms. A client that enters a room gets its last messages, the names of those who are there, and each new message. */
export function chat (app: FastifyInstance, store: Store, { refresh = 5000 } = {}): void {
  app.get<Visit>('/rooms/:room', { schema }, async (request) => {
    const ws = await request.getWebSocketAsync()
    const member = { id: randomUUID(), name: request.query.name, room: request.params.room }
    ws.data.member = member

    // In this order no message is missed. One may come twice, with the same id
    await ws.subscribeAsync(topicOf(member.room))
    await ws.sendAsync(JSON.stringify({ type: 'welcome', process: process.pid, messages: await store.history(member.room) }))
    await store.enter(member)
    await tellWhoIsThere(member.room)

    try {
      for await (const message of ws) {
        const said = { id: randomUUID(), name: member.name, text: message.getString(), at: Date.now() }
        await store.remember(member.room, said)
        await app.webSockets.publishAsync(topicOf(member.room), JSON.stringify({ type: 'message', ...said }))
      }
    } finally {
      delete ws.data.member
      await store.leave(member)
      await tellWhoIsThere(member.room)
    }
  })

  async function tellWhoIsThere (room: string): Promise<void> {
    const names = await store.present(room)
    if (names !== null) await app.webSockets.publishAsync(topicOf(room), JSON.stringify({ type: 'present', names }))
  }

  // Confirms the members of this process. Those of a process that was killed are not confirmed, so they expire
  const timer = setInterval(async () => {
    const members = Array.from(app.webSockets, ({ data }) => data.member).filter((member) => member !== undefined)
    await Promise.all(members.map((member) => store.enter(member)))
    await Promise.all(Array.from(new Set(members.map(({ room }) => room)), tellWhoIsThere))
  }, refresh)
  app.addHook('onClose', async () => clearInterval(timer))
}

const topicOf = (room: string) => `room/${room}`

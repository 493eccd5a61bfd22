// An app as a user of `@fastify/websocket` writes it: a chat in rooms, an upload, and what goes wrong. The plugin is its
// argument: it is the one line that changes when an app moves over.
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setImmediate as nextTurn } from 'node:timers/promises'
import Fastify from 'fastify'
import { createWebSocketStream } from 'ws'

const users = new Map([['Bearer a', 'ada'], ['Bearer b', 'bob']])

class Rooms {
  #rooms = new Map()

  join (name, socket, user) {
    const members = this.#rooms.get(name) ?? new Map()
    this.#rooms.set(name, members.set(socket, user))
    this.tell(name, { type: 'joined', user, members: [...members.values()] })
  }

  leave (name, socket) {
    const members = this.#rooms.get(name)
    const user = members.get(socket)
    members.delete(socket)
    if (members.size === 0) this.#rooms.delete(name)
    else this.tell(name, { type: 'left', user, members: [...members.values()] })
  }

  tell (name, message) {
    for (const socket of this.#rooms.get(name).keys()) {
      if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(message))
    }
  }

  sizes () {
    return Object.fromEntries([...this.#rooms].map(([name, members]) => [name, members.size]))
  }
}

/** @returns the app, and what happened in it as a list of strings */
export async function buildApp (websocket, { logger = false } = {}) {
  const app = Fastify({ logger })
  const rooms = new Rooms()
  const events = []

  await app.register(websocket, {
    options: { maxPayload: 1024 * 1024 },
    errorHandler (error, socket, request) {
      events.push(`error on ${request.url}: ${error.message}`)
      socket.close(4000, error.message.slice(0, 100))
    },
    preClose (done) {
      events.push('preClose')
      for (const client of this.websocketServer.clients) client.close(4001, 'come back later')
      this.websocketServer.close()
      done()
    }
  })

  app.decorateRequest('user', null)
  app.addHook('onRequest', async (request, reply) => {
    if (request.routeOptions.config.isPublic) return
    request.user = users.get(request.headers.authorization)
    if (request.user === undefined) return reply.code(401).send({ error: 'who are you?' })
  })

  app.get('/status', { config: { isPublic: true } }, async (request) => {
    return { rooms: rooms.sizes(), clients: app.websocketServer.clients.size, ws: request.ws }
  })

  app.get('/rooms/:room', {
    websocket: true,
    schema: { params: { type: 'object', properties: { room: { type: 'string', pattern: '^[a-z]+$' } } } }
  }, (socket, request) => {
    const { params: { room }, user } = request
    rooms.join(room, socket, user)
    socket.on('message', (data, isBinary) => {
      if (isBinary) return socket.close(1003, 'text only')
      rooms.tell(room, { type: 'said', user, text: data.toString() })
    })
    socket.on('close', (code) => {
      events.push(`${user} left ${room} with ${code}`)
      rooms.leave(room, socket)
    })
  })

  // Upper case, as long as the client streams
  app.get('/shout', { websocket: true }, async (socket) => {
    const stream = createWebSocketStream(socket)
    await pipeline(stream, new Transform({
      transform (chunk, _encoding, done) { done(null, chunk.toString().toUpperCase()) }
    }), stream)
    events.push('shouted')
  })

  // One path for both: its HTTP side tells the time, its WebSocket side keeps telling it
  app.route({
    method: 'GET',
    url: '/clock',
    handler: async () => ({ tick: 0 }),
    wsHandler (socket) {
      let tick = 0
      const timer = setInterval(() => socket.send(JSON.stringify({ tick: ++tick })), 20)
      socket.on('close', () => clearInterval(timer))
    }
  })

  app.get('/throws', { websocket: true }, () => { throw new Error('at once') })
  app.get('/rejects', { websocket: true }, async () => {
    await nextTurn()
    throw new Error('later')
  })

  await app.register(async (app) => {
    app.addHook('preValidation', async (request, reply) => {
      if (request.user !== 'ada') return reply.code(403).send({ error: 'not you' })
    })
    app.get('/', { websocket: true }, function (socket, request) {
      socket.send(`${request.user} at ${this.prefix}, ${request.query.q}`)
      socket.close()
    })
  }, { prefix: '/admin' })

  app.addHook('onClose', async () => { events.push('onClose') })
  return { app, events }
}

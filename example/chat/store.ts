import type { FastifyBaseLogger } from 'fastify'
import type { Redis } from 'ioredis'

export interface Member {
  readonly id: string
  readonly name: string
  readonly room: string
}

export interface Said {
  readonly id: string
  readonly name: string
  readonly text: string
  /** When it was said, in ms since 1970. */
  readonly at: number
}

/** What a room remembers: its last messages and its members. No method rejects. */
export interface Store {
  /** The last messages, the oldest first. */
  history (room: string): Promise<Said[]>
  remember (room: string, said: Said): Promise<void>
  /** Adds a member until `MEMBER_TTL` has passed. The same call extends that time. */
  enter (member: Member): Promise<void>
  leave (member: Member): Promise<void>
  /** The names of the members, each once, or `null` if they are not known now. */
  present (room: string): Promise<string[] | null>
}

const HISTORY = 50
const MEMBER_TTL = 15_000
const ROOM_TTL = 24 * 3600 * 1000
const MAX_ROOMS = 1000

const namesOf = (members: Iterable<{ name: string }>) => [...new Set(Array.from(members, ({ name }) => name))].sort()

interface Room {
  readonly messages: Said[]
  readonly members: Map<string, Member>
}

/** A store for one process. Above `MAX_ROOMS` the empty room that was unused for longest is removed. */
export class MemoryStore implements Store {
  readonly #rooms = new Map<string, Room>()

  async history (room: string): Promise<Said[]> {
    return this.#rooms.get(room)?.messages ?? []
  }

  async remember (room: string, said: Said): Promise<void> {
    const { messages } = this.#use(room)
    messages.push(said)
    if (messages.length > HISTORY) messages.shift()
  }

  async enter (member: Member): Promise<void> {
    this.#use(member.room).members.set(member.id, member)
  }

  async leave ({ id, room }: Member): Promise<void> {
    this.#use(room).members.delete(id)
    if (this.#rooms.size <= MAX_ROOMS) return
    for (const [name, { members }] of this.#rooms) {
      if (members.size > 0) continue
      this.#rooms.delete(name)
      return
    }
  }

  async present (room: string): Promise<string[]> {
    return namesOf(this.#rooms.get(room)?.members.values() ?? [])
  }

  /** Moves the room to the end of the map, as the one that was used last. */
  #use (name: string): Room {
    const room = this.#rooms.get(name) ?? { messages: [], members: new Map() }
    this.#rooms.delete(name)
    this.#rooms.set(name, room)
    return room
  }
}

/** A store for many processes. Each room has a list of messages, and a set of members that is sorted by when they expire. */
export class RedisStore implements Store {
  readonly #redis: Redis
  readonly #log: FastifyBaseLogger

  constructor (redis: Redis, log: FastifyBaseLogger) {
    this.#redis = redis
    this.#log = log
  }

  async history (room: string): Promise<Said[]> {
    const lines = await this.#try(this.#redis.lrange(messagesKey(room), 0, -1))
    return (lines ?? []).map((line) => JSON.parse(line))
  }

  async remember (room: string, said: Said): Promise<void> {
    const key = messagesKey(room)
    await this.#try(this.#redis.multi().rpush(key, JSON.stringify(said)).ltrim(key, -HISTORY, -1).pexpire(key, ROOM_TTL).exec())
  }

  async enter (member: Member): Promise<void> {
    const key = membersKey(member.room)
    const now = Date.now()
    await this.#try(this.#redis.multi().zadd(key, now + MEMBER_TTL, JSON.stringify(member)).zremrangebyscore(key, '-inf', now).pexpire(key, MEMBER_TTL).exec())
  }

  async leave (member: Member): Promise<void> {
    await this.#try(this.#redis.zrem(membersKey(member.room), JSON.stringify(member)))
  }

  async present (room: string): Promise<string[] | null> {
    const members = await this.#try(this.#redis.zrangebyscore(membersKey(room), Date.now(), '+inf'))
    return members && namesOf(members.map((member) => JSON.parse(member)))
  }

  /** While Redis is away the chat goes on, without a history. */
  async #try <Value> (answer: Promise<Value>): Promise<Value | null> {
    try {
      return await answer
    } catch (error) {
      this.#log.warn({ err: error }, 'chat store failed')
      return null
    }
  }
}

const messagesKey = (room: string) => `chat:${room}:messages`
const membersKey = (room: string) => `chat:${room}:members`

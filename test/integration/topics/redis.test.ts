import { spawn } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { buildApp } from '../../fixtures/app.js'
import { captureLog, messagesOf } from '../../fixtures/log.js'
import { findRedis, needs } from '../../fixtures/processes/programs.js'
import { connectToRedis, startRedis } from '../../fixtures/processes/redis.js'
import { everyMs, until } from '../../fixtures/wait.js'

const SUBSCRIBERS = 100
const MESSAGES = 1000
const OUTAGE = 5000

const needsRedis = needs('redis-server', findRedis())

type Line = { msg: string, topic?: string, missed?: number, unpublished?: number }
type Published = { delivered: number, bus: string }[]

/** An app in a process of its own. */
class Node {
  readonly name: string
  readonly #child
  readonly #log = new EventEmitter()
  readonly lines: Line[] = []
  #origin = ''
  #count = 0

  constructor (name: string, redisPort: number) {
    this.name = name
    const server = fileURLToPath(new URL('../../fixtures/processes/node-server.ts', import.meta.url))
    this.#child = spawn(process.execPath, ['--import', 'tsx', server, `${redisPort}`], { stdio: ['ignore', 'pipe', 'inherit'] })
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      this.lines.push(JSON.parse(line))
      this.#log.emit('line')
    })
  }

  get isAlive (): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  async listen (): Promise<void> {
    const { msg } = await this.hear('Server listening')
    this.#origin = new URL(msg.slice(msg.indexOf('http'))).host
  }

  /** A line of the log, also one that was written before. */
  async hear (text: string): Promise<Line> {
    for (;;) {
      const line = this.lines.find(({ msg }) => msg.includes(text))
      if (line !== undefined) return line
      await once(this.#log, 'line')
    }
  }

  /** Publishes the next ones of its messages, numbered. */
  async publish (count: number): Promise<Published> {
    const messages = Array.from({ length: count }, () => `${this.name} ${this.#count++}`)
    const response = await fetch(`http://${this.#origin}/publish`, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ topic: 'news', messages })
    })
    return await response.json() as Published
  }

  async subscribe (): Promise<Subscriber> {
    const subscriber = new Subscriber(new WebSocket(`ws://${this.#origin}/subscribe/news`))
    await subscriber.received((texts) => texts.length === 1)
    return subscriber
  }

  async end (): Promise<number | null> {
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGTERM')
    await exited
    return this.#child.exitCode
  }

  kill (): void {
    this.#child.kill('SIGKILL')
  }
}

class Subscriber {
  readonly socket: WebSocket
  readonly texts: string[] = []

  constructor (socket: WebSocket) {
    this.socket = socket
    socket.on('message', (data) => this.texts.push(data.toString()))
  }

  async received (isAll: (texts: string[]) => boolean): Promise<void> {
    while (!isAll(this.texts)) await once(this.socket, 'message')
  }

  /** The numbers of what the node published, as they came. */
  from ({ name }: Node): number[] {
    return this.texts.filter((text) => text.startsWith(`${name} `)).map((text) => Number(text.slice(name.length + 1)))
  }
}

async function startNode (t: Test, name: string, redisPort: number): Promise<Node> {
  const node = new Node(name, redisPort)
  t.teardown(() => { node.kill() })
  await node.listen()
  return node
}

const isRising = (numbers: number[]) => numbers.every((number, i) => i === 0 || number > numbers[i - 1]!)
const sum = (numbers: number[]) => numbers.reduce((total, each) => total + each, 0)

t.test('two processes connected by a Redis that stops and comes back', { ...needsRedis, timeout: 90_000 }, async (t) => {
  const { port, stop } = await startRedis(t)
  const nodes = await Promise.all(['a', 'b'].map((name) => startNode(t, name, port)))
  const groups = await Promise.all(nodes.map((node) => Promise.all(Array.from({ length: SUBSCRIBERS }, () => node.subscribe()))))
  const subscribers = groups.flat()
  t.teardown(() => subscribers.forEach(({ socket }) => socket.terminate()))
  t.same(new Set(subscribers.map(({ texts }) => texts.shift())), new Set(['bus: ok']))

  await t.test(`${MESSAGES} messages of each reach all subscribers of both, in order`, async (t) => {
    for (const published of await Promise.all(nodes.map((node) => node.publish(MESSAGES)))) {
      t.same(published, Array(MESSAGES).fill({ delivered: SUBSCRIBERS, bus: 'ok' }))
    }
    await Promise.all(subscribers.map((subscriber) => subscriber.received((texts) => texts.length >= 2 * MESSAGES)))
    const numbers = Array.from({ length: MESSAGES }, (_, i) => i)
    for (const node of nodes) {
      t.ok(subscribers.every((subscriber) => String(subscriber.from(node)) === String(numbers)), `what ${node.name} published`)
    }
  })

  await t.test(`without Redis for ${OUTAGE} ms each process goes on delivering to its own subscribers`, async (t) => {
    await stop()
    const [end, published]: [number, Published] = [performance.now() + OUTAGE, []]
    for await (const _ of everyMs(50)) {
      if (performance.now() > end) break
      published.push(...(await Promise.all(nodes.map((node) => node.publish(1)))).flat())
    }
    t.ok(published.length > 20)
    t.same(published, published.map(() => ({ delivered: SUBSCRIBERS, bus: 'FST_WSA_BUS_LOST' })), 'the publisher gets the error, and subscribers of this process get the message')
    for (const node of nodes) {
      t.ok(node.isAlive)
      t.equal(node.lines.filter(({ msg }) => msg === 'websocket bus lost').length, 1, 'the loss is logged once')
    }
    const latecomer = await nodes[0]!.subscribe()
    t.match(latecomer.texts[0], /FST_WSA_BUS_LOST|websocket bus/i, 'a new subscriber gets the error, and receives what this process publishes')
    latecomer.socket.terminate()
  })

  const back = await startRedis(t, port)
  await t.test('when Redis is back messages reach the other process again, and the gap is logged to the message', async (t) => {
    await Promise.all(nodes.map((node) => node.hear('websocket bus found')))
    const missed = (node: Node) => sum(node.lines.filter(({ msg }) => msg === 'websocket publications missed').map(({ missed }) => missed ?? 0))
    // The connection that publishes may be back before the one that receives
    const isBack = (subscriber: Subscriber, node: Node, since: number) => (subscriber.from(node).at(-1) ?? 0) >= since
    const counts = nodes.map((node, i) => groups[i]![0]!.from(node).length)
    const areBack = () => nodes.every((node, i) => subscribers.every((subscriber) => isBack(subscriber, node, counts[i]!)))
    for await (const _ of everyMs(50)) {
      if (areBack()) break
      await Promise.all(nodes.map((node) => node.publish(1)))
    }
    for (const published of await Promise.all(nodes.map((node) => node.publish(100)))) {
      t.same(published, Array(100).fill({ delivered: SUBSCRIBERS, bus: 'ok' }))
    }
    for (const [i, node] of nodes.entries()) {
      const other = 1 - i
      const all = groups[i]!.map((subscriber) => subscriber.from(node))
      await Promise.all(groups[other]!.map((subscriber) => subscriber.received(() => subscriber.from(node).at(-1) === all[0]!.at(-1))))
      t.ok(all.every((numbers) => String(numbers) === String(all[0]!.map((_, i) => i))), 'subscribers of the same process missed nothing')
      for (const subscriber of groups[other]!.slice(0, 3)) {
        const numbers = subscriber.from(node)
        t.ok(isRising(numbers))
        t.equal(numbers.length + missed(nodes[other]!), all[0]!.length, 'the log has how many messages the other subscribers missed')
      }
      t.ok(missed(nodes[other]!) > 10)
    }
  })

  t.equal(await nodes[0]!.end(), 0)
  await back.stop()
  await nodes[1]!.publish(1)
  t.equal(await nodes[1]!.end(), 0, 'also without it an app closes')
})

/** An app in this process. What comes on its topics is put down. */
async function startApp (t: Test, port: number) {
  const { lines, logger } = captureLog()
  const { pubsub, disconnect } = connectToRedis(port)
  const app = await buildApp(t, { pubsub, app: { logger } })
  app.addHook('onClose', async () => { disconnect() })
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync()
    for await (const message of ws) {
      const { bus } = await ws.subscribeAsync(message.getString(), { wildcards: true })
      await ws.sendAsync(bus === 'ok' ? bus : bus.message)
    }
  })
  const client = await app.injectWebSocketAsync('/')
  const hear = async () => (await client.receiveMessageAsync({ timeout: 5000 }))?.getString()
  const subscribe = async (topic: string) => {
    await client.sendAsync(topic)
    return hear()
  }
  return { app, lines, subscribe, hear }
}

t.test('topics that are special to Redis or to its emitter work like others', needsRedis, async (t) => {
  const { port } = await startRedis(t)
  const [here, there] = await Promise.all([startApp(t, port), startApp(t, port)])
  const topics = ['constructor', 'toString', '__proto__', '__sentinel__:hello', 'a*', 'a[b]', 'a/', '/a', 'a//b', 'fastify-websocket-async/', 'ü/😀', 'a'.repeat(1024), 'a/'.repeat(63) + 'a']
  for (const topic of topics) t.equal(await there.subscribe(topic), 'ok')
  for (const topic of topics) {
    t.match(await here.app.webSockets.publishAsync(topic, topic), { delivered: 0, bus: 'ok' })
    t.equal(await there.hear(), topic)
  }
  for (const [pattern, topic] of [['#/end', 'end'], ['+/x', 'b/x'], ['c/#', 'c'], ['d/#/e/#/f/#', 'd/1/2/e/f']] as const) {
    t.equal(await there.subscribe(pattern), 'ok')
    await here.app.webSockets.publishAsync(topic, topic)
    t.equal(await there.hear(), topic, `${pattern} matches ${topic}`)
  }
  t.same([...here.lines, ...there.lines].filter(({ level }) => Number(level) >= 40), [])
})

t.test('what other programs publish on the same Redis is not received', needsRedis, async (t) => {
  const { port } = await startRedis(t)
  const [here, there] = await Promise.all([startApp(t, port), startApp(t, port)])
  t.equal(await there.subscribe('#'), 'ok')
  const other = new Redis({ port })
  t.teardown(() => other.disconnect())
  for (const channel of ['news', 'room/1', 'fastify', '__keyspace@0__:a']) await other.publish(channel, 'not a publication')
  await here.app.webSockets.publishAsync('news', 'a publication')
  t.equal(await there.hear(), 'a publication')
})

const str = (text: string) => Buffer.concat([Buffer.from([0xda, text.length >> 8, text.length & 0xff]), Buffer.from(text)]) // as MessagePack has it

/** As `mqemitter-redis` puts a message, with an id that it has not seen. */
const packet = (() => {
  let count = 0
  return (...message: Buffer[]) => Buffer.concat([Buffer.from([0x82]), str('id'), str(`id ${count++}`), str('msg'), ...message])
})()

t.test('what other programs publish on the channels of the app does not end the process, whatever it is', needsRedis, async (t) => {
  const { port } = await startRedis(t)
  const [here, there] = await Promise.all([startApp(t, port), startApp(t, port)])
  for (const topic of ['news', '#']) t.equal(await there.subscribe(topic), 'ok')
  const other = new Redis({ port })
  t.teardown(() => other.disconnect())
  const topic = (text: string) => [Buffer.from([0x81]), str('topic'), str(text)]
  const packets = {
    nothing: Buffer.alloc(0),
    text: Buffer.from('{}'),
    'what is no MessagePack': Buffer.from([0xc1]),
    'a string that is cut': Buffer.from([0xdb, 0xff, 0xff, 0xff, 0xff, 0x61]),
    'an array that is cut': Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff]),
    'arrays in each other': Buffer.alloc(100_000, 0x91),
    null: Buffer.from([0xc0]),
    'a packet without a message': Buffer.from([0x80]),
    'a message that is null': packet(Buffer.from([0xc0])),
    'a message that is text': packet(str('text')),
    'a message without a topic': packet(Buffer.from([0x80])),
    'a topic that is null': packet(Buffer.from([0x81]), str('topic'), Buffer.from([0xc0])),
    'a topic that is a number': packet(Buffer.from([0x81]), str('topic'), Buffer.from([1])),
    'an empty topic': packet(...topic('')),
    'a topic of 5,000 levels': packet(...topic('fastify-websocket-async/' + 'a/'.repeat(5_000))),
    'a topic of 60,000 levels': packet(...topic('/'.repeat(60_000))),
    'a publication that is none': packet(...topic('fastify-websocket-async/news'))
  }
  for (const channel of ['fastify-websocket-async/news', 'fastify-websocket-async/other']) {
    for (const [what, bytes] of Object.entries(packets)) {
      t.ok(await other.publish(channel, bytes) > 0, `${what} is received`)
    }
  }
  await here.app.webSockets.publishAsync('news', 'a publication')
  t.equal(await there.hear(), 'a publication')
  t.same(messagesOf(there.lines).filter((msg) => msg.startsWith('websocket bus')), ['websocket bus received an unreadable message'])
})

t.test('connections to Redis over which nothing arrives any more are replaced', { ...needsRedis, timeout: 60_000 }, async (t) => {
  const { port } = await startRedis(t)
  const pairs: [Socket, Socket][] = []
  const path = createServer((near) => {
    const far = connect(port, '127.0.0.1')
    for (const socket of [near, far]) socket.on('error', () => {})
    near.pipe(far).pipe(near)
    pairs.push([near, far])
  }).listen(0, '127.0.0.1')
  t.teardown(() => {
    path.close()
    for (const socket of pairs.flat()) socket.destroy()
  })
  await once(path, 'listening')
  const [here, there] = await Promise.all([startApp(t, (path.address() as AddressInfo).port), startApp(t, port)])
  t.equal(await there.subscribe('news'), 'ok')
  t.match(await here.app.webSockets.publishAsync('news', 'before'), { bus: 'ok' })
  for (const [near, far] of pairs) {
    near.unpipe(far).resume()
    far.unpipe(near).resume()
  }
  t.match(await here.app.webSockets.publishAsync('news', 'meanwhile'), { bus: { code: 'FST_WSA_BUS_LOST' } })
  await until('the broker is found again', () => messagesOf(here.lines).includes('websocket bus found'), 50_000)
  t.match(await here.app.webSockets.publishAsync('news', 'after'), { bus: 'ok' })
  const heard = [await there.hear(), await there.hear()]
  if (heard[1] === 'meanwhile') heard.splice(1, 1, await there.hear()) // it was sent again, which was not known when it was reported
  t.same(heard, ['before', 'after'])
})

import { on, once } from 'node:events'
import t from 'tap'
import type { Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import type { WebSocket } from 'ws'
import { buildServer, type ExampleOptions } from '../../../example/app.js'
import { fakeClock } from '../../fixtures/fake-clock.js'

t.test('/connect logs every message and answers Hello!', async (t) => {
  const log: string[] = []
  const app = await buildExample(t, { logger: { stream: { write: (line: string) => { log.push(JSON.parse(line).msg) } } } })
  const client = await connect(app, '/connect')
  client.send('Good morning')
  t.equal(await client.receive(), 'Hello!')
  client.send('Good evening')
  t.equal(await client.receive(), 'Hello!')
  t.same(log.filter((line) => line.startsWith('Received')), ['Received message: Good morning', 'Received message: Good evening'])
})

t.test('/connect closes with 1000 when no message has come for 30 seconds', async (t) => {
  const app = await buildExample(t)
  const clock = fakeClock(t)
  const client = await connect(app, '/connect')

  const timerToStart = async () => { while (clock.countTimers() === 0) await nextTurn() }

  await timerToStart()
  clock.tick(29_999)
  client.send('Still here')
  t.equal(await client.receive(), 'Hello!')

  await timerToStart()
  clock.tick(30_000)
  await timerToStart() // of the client: it does not wait for the server to end the connection
  clock.tick(1)
  t.equal(await client.closed, 1000)
})

t.test('/dialogue asks again until the answers will do, and closes with 1000', async (t) => {
  const client = await connect(await buildExample(t), '/dialogue')
  t.equal(await client.receive(), 'What is your name?')
  for (const name of ['', ' \t']) {
    client.send(name)
    t.equal(await client.receive(), 'Please, insert your name!')
    t.equal(await client.receive(), 'What is your name?')
  }
  client.send('Ada')
  t.equal(await client.receive(), 'And your age?')
  for (const age of ['', '12abc', '1.5', '2147483648']) {
    client.send(age)
    t.equal(await client.receive(), 'Please, insert an valid number')
    t.equal(await client.receive(), 'And your age?')
  }
  client.send(' +036 ')
  t.equal(await client.receive(), "You're Ada, and you are 36 old.")
  t.equal(await client.closed, 1000)
})

for (const [when, answers] of [['at the name', []], ['after a refused name', ['']], ['at the age', ['Ada']]] as const) {
  t.test(`/dialogue ends where the client leaves ${when}`, async (t) => {
    const problems: unknown[] = []
    const app = await buildExample(t, { logger: { level: 'warn', stream: { write: (line: string) => { problems.push(JSON.parse(line)) } } } })
    const client = await connect(app, '/dialogue')
    for (const answer of answers) {
      await client.receive()
      client.send(answer)
    }
    await client.receive()
    client.close(1001)
    t.equal(await client.closed, 1001)
    await app.close() // waits for the handler, and would log that it had waited in vain
    t.same(problems, [])
  })
}

t.test('/ping pings at once, and echoes every message but the answer to a ping', async (t) => {
  const client = await connect(await buildExample(t, { pingInterval: 60_000 }), '/ping')
  t.equal(await client.receive(), '%ping%')
  client.send('%ping%')
  client.send('one')
  t.equal(await client.receive(), 'one')
  client.send(Buffer.from([0, 159, 146, 150]))
  t.same(await client.receiveBytes(), Buffer.from([0, 159, 146, 150]))
})

t.test('/ping pings every 5 seconds', async (t) => {
  const app = await buildExample(t)
  const clock = fakeClock(t, ['setInterval', 'clearInterval'])
  const client = await connect(app, '/ping')
  t.equal(await client.receive(), '%ping%')
  for (const text of ['one', 'two']) {
    clock.tick(4_999)
    client.send(text)
    t.equal(await client.receive(), text, 'nothing was sent before the time')
    clock.tick(1)
    t.equal(await client.receive(), '%ping%')
  }
})

for (const path of ['/connect', '/dialogue', '/ping']) {
  t.test(`${path} answers 426 to a request that asks for no WebSocket`, async (t) => {
    const app = await buildExample(t)
    const response = await app.inject(path)
    t.equal(response.statusCode, 426)
    t.equal(response.headers.upgrade, 'websocket')
    t.match(response.json(), { statusCode: 426, code: 'FST_WSA_UPGRADE_REQUIRED' })
  })
}

t.test('/ is a page that needs nothing but itself', async (t) => {
  const app = await buildExample(t)
  const response = await app.inject('/')
  t.equal(response.statusCode, 200)
  t.equal(response.headers['content-type'], 'text/html; charset=utf-8')
  for (const path of ['/connect', '/dialogue', '/ping']) t.ok(response.body.includes(`value="${path}"`), path)
  t.same(response.body.match(/(?:src|href)="(?!data:)[^"]*"|@import[^;]*/g), null)
})

async function buildExample (t: Test, options: ExampleOptions = {}): Promise<FastifyInstance> {
  const app = await buildServer(options)
  t.teardown(() => app.close())
  await app.ready()
  return app
}

interface Client {
  send (data: string | Buffer): void
  close (code: number): void
  receive (): Promise<string>
  receiveBytes (): Promise<Buffer>
  readonly closed: Promise<number>
}

async function connect (app: FastifyInstance, path: string): Promise<Client> {
  let messages!: AsyncIterator<[data: Buffer, isBinary: boolean]> // both are set by onInit, which runs before injectWS returns
  let closed!: Promise<number>
  const socket: WebSocket = await app.injectWS(path, {}, {
    // Later than this, a message that came with the handshake would be lost
    onInit (socket) {
      messages = on(socket, 'message', { close: ['close'] }) as typeof messages // the arguments of the event
      closed = once(socket, 'close').then(([code]) => code)
    }
  })
  const receive = async (asBinary: boolean) => {
    const { done, value } = await messages.next()
    if (done === true) throw new Error('the connection has ended')
    const [data, isBinary] = value
    if (isBinary !== asBinary) throw new Error(`the message is ${isBinary ? 'binary' : 'text'}`)
    return data
  }
  return {
    send: (data) => socket.send(data),
    close: (code) => socket.close(code),
    receive: () => receive(false).then(String),
    receiveBytes: () => receive(true),
    closed
  }
}

function nextTurn (): Promise<void> {
  return new Promise((resolve) => { setImmediate(resolve) })
}

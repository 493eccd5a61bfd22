import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { Lifecycle } from '../../lib/app/lifecycle.js'
import { Shutdown, withoutFailing, type ShutdownSettings } from '../../lib/app/shutdown.js'
import type { AsyncWebSocket } from '../../lib/connection/async-web-socket.js'
import { fakeClock } from '../fixtures/fake-clock.js'
import { captureLog, messagesOf } from '../fixtures/log.js'

const DEFAULTS: ShutdownSettings = { code: 1001, reason: 'server shutting down', grace: 5000, timeout: 8000, spread: 0 }

/** A shutdown on a fake clock. Everything that is alive only notes what happens to it, and when; `end` ends it. */
function newShutdown (t: Test, options: Partial<ShutdownSettings> = {}) {
  const clock = fakeClock(t)
  const start = clock.now
  const notes: string[] = []
  const note = (what: string) => { notes.push(`${what} ${clock.now - start}`) }
  const { lines, logger } = captureLog()
  const lifecycle = new Lifecycle()
  const shutdown = new Shutdown(lifecycle, { ...DEFAULTS, ...options }, Fastify({ logger }).log)
  return {
    clock,
    notes,
    lines,
    lifecycle,
    shutdown,
    start: () => { shutdown.start().then(() => note('end')) },
    connect (name: string) {
      const connection = {
        drain: () => note(`drain ${name}`),
        closeForShutdown: () => note(`close ${name}`),
        terminateWith: (cause: string) => note(`terminate ${name} for ${cause}`)
      } as AsyncWebSocket // all that a shutdown calls
      lifecycle.trackConnection(connection)
      return { end: () => lifecycle.untrackConnection(connection) }
    },
    upgrade () {
      const upgrade = { refuse: () => note('refuse'), destroy: () => note('destroy') }
      lifecycle.trackUpgrade(upgrade)
      return { end: () => lifecycle.untrackUpgrade(upgrade) }
    },
    handle () {
      const handler = { lifetime: new Promise<void>(() => {}), excuse: () => note('excuse') }
      lifecycle.trackHandler(handler)
      return { end: () => lifecycle.untrackHandler(handler) }
    }
  }
}

t.test('start() refuses upgrades, drains connections, closes them after grace, terminates them half a second before timeout', async (t) => {
  const { clock, notes, connect, upgrade, handle, start } = newShutdown(t)
  connect('a')
  upgrade()
  handle()
  start()
  await clock.tickAsync(20_000)
  t.same(notes, ['refuse 0', 'drain a 0', 'close a 5000', 'terminate a for shutdown 7500', 'destroy 7500', 'end 8000'])
  t.equal(clock.countTimers(), 0)
})

t.test('the app is closing from the call of start() on, before anything is refused', async (t) => {
  const { lifecycle, shutdown } = newShutdown(t)
  const seen: boolean[] = []
  lifecycle.trackUpgrade({ refuse: () => seen.push(lifecycle.isClosing), destroy () {} })
  t.equal(lifecycle.isClosing, false)
  shutdown.start()
  t.equal(lifecycle.isClosing, true)
  t.same(seen, [true])
})

t.test('a short timeout leaves a tenth of it between termination and the end', async (t) => {
  const { clock, notes, connect, start } = newShutdown(t, { timeout: 100 })
  connect('a')
  start()
  await clock.tickAsync(1000)
  t.same(notes, ['drain a 0', 'terminate a for shutdown 90', 'end 100'])
})

t.test('it ends as soon as the last connection, upgrade and handler have ended, and nothing is terminated', async (t) => {
  const { clock, notes, lines, connect, upgrade, handle, start } = newShutdown(t)
  const living = [connect('a'), handle(), upgrade()]
  start()
  for (const { end } of living) {
    await clock.tickAsync(100)
    end()
  }
  await clock.tickAsync(0)
  t.same(notes, ['refuse 0', 'drain a 0', 'end 300'])
  t.same(lines, [])
  t.equal(clock.countTimers(), 0)
})

t.test('it ends early if the handlers end after the termination', async (t) => {
  const { clock, notes, connect, handle, start } = newShutdown(t)
  const living = [connect('a'), handle()]
  start()
  await clock.tickAsync(7600)
  for (const { end } of living) end()
  await clock.tickAsync(0)
  t.same(notes.slice(-2), ['terminate a for shutdown 7500', 'end 7600'])
  t.equal(clock.countTimers(), 0)
})

t.test('an upgrade that becomes a connection during the shutdown is waited for, and terminated with the others', async (t) => {
  const { clock, notes, connect, upgrade, start } = newShutdown(t)
  const pending = upgrade()
  start()
  await clock.tickAsync(100)
  connect('late')
  pending.end()
  await clock.tickAsync(20_000)
  t.same(notes, ['refuse 0', 'terminate late for shutdown 7500', 'end 8000'])
})

t.test('connections are drained evenly over spread, each closed its whole grace later', async (t) => {
  const { clock, notes, connect, start } = newShutdown(t, { spread: 300, grace: 150, timeout: 1000 })
  for (const name of 'abc') connect(name)
  start()
  await clock.tickAsync(899)
  t.same(notes, ['drain a 0', 'drain b 100', 'close a 150', 'drain c 200', 'close b 250', 'close c 350'])
})

t.test('connections are drained in batches at least 10 ms apart', async (t) => {
  const { clock, notes, connect, start } = newShutdown(t, { spread: 25, grace: 1000 })
  for (const name of 'abcde') connect(name)
  start()
  await clock.tickAsync(100)
  t.same(notes, ['drain a 0', 'drain b 0', 'drain c 12', 'drain d 12', 'drain e 12'])
})

t.test('start() drains the first batch before it returns', async (t) => {
  const { notes, connect, shutdown } = newShutdown(t, { spread: 20 })
  for (const name of 'ab') connect(name)
  shutdown.start()
  t.same(notes, ['drain a 0'])
})

t.test('spread does not delay the only connection, and ends with the last one', async (t) => {
  const { clock, notes, connect, start } = newShutdown(t, { spread: 5000, grace: 1000 })
  const { end } = connect('a')
  start()
  await clock.tickAsync(10)
  end()
  await clock.tickAsync(0)
  t.same(notes, ['drain a 0', 'end 10'])
  t.equal(clock.countTimers(), 0)
})

t.test('at the timeout the log has the numbers of what is left, and a hint if handlers are among it', async (t) => {
  const { clock, lines, connect, upgrade, handle, start } = newShutdown(t)
  connect('a')
  connect('b')
  upgrade()
  const { end } = handle()
  start()
  await clock.tickAsync(7500)
  t.match(lines, [{ level: 40, msg: 'websocket shutdown timed out', connections: 2, handlers: 1, upgrades: 1, hint: /app\.close\(\)/ }])
  end()

  const withoutHandlers = newShutdown(t)
  withoutHandlers.connect('a')
  withoutHandlers.start()
  await withoutHandlers.clock.tickAsync(7500)
  t.same(withoutHandlers.lines.map(({ connections, handlers, hint }) => [connections, handlers, hint]), [[1, 0, undefined]])
})

t.test('start() called again gives the same promise, and starts nothing', async (t) => {
  const { clock, notes, connect, shutdown } = newShutdown(t)
  connect('a')
  t.equal(shutdown.start(), shutdown.start())
  await clock.tickAsync(8000)
  shutdown.start()
  t.same(notes, ['drain a 0', 'close a 5000', 'terminate a for shutdown 7500'])
})

t.test('start() resolves at once if nothing is alive', async (t) => {
  const { clock, notes, start } = newShutdown(t)
  start()
  await clock.tickAsync(0)
  t.same(notes, ['end 0'])
  t.equal(clock.countTimers(), 0)
})

t.test('each preClose hook takes half of pluginTimeout at most, and together they wait until the end', async (t) => {
  const { clock, notes, connect, shutdown } = newShutdown(t)
  const start = clock.now
  connect('a')
  const hooks = shutdown.preCloseHooks(4000)
  const ends: number[] = []
  const run = async () => {
    for (const hook of hooks) {
      await hook()
      ends.push(clock.now - start)
    }
  }
  run()
  await clock.tickAsync(20_000)
  t.same(ends, [2000, 4000, 6000, 8000, 8000])
  t.same(notes, ['drain a 0', 'close a 5000', 'terminate a for shutdown 7500'])
  t.equal(clock.countTimers(), 0)
})

t.test('preClose hooks resolve as soon as the shutdown has ended', async (t) => {
  const { clock, connect, shutdown } = newShutdown(t)
  const { end } = connect('a')
  const [first, second] = shutdown.preCloseHooks(10_000)
  let ended = 0
  first?.().then(() => second?.()).then(() => { ended++ })
  await clock.tickAsync(100)
  t.equal(ended, 0)
  end()
  await clock.tickAsync(0)
  t.equal(ended, 1)
  t.equal(clock.countTimers(), 0)
})

t.test('one preClose hook is enough without a pluginTimeout', async (t) => {
  const { clock, connect, shutdown } = newShutdown(t)
  connect('a')
  const hooks = shutdown.preCloseHooks(0)
  t.equal(hooks.length, 1)
  let hasEnded = false
  hooks[0]?.().then(() => { hasEnded = true })
  await clock.tickAsync(7999)
  t.equal(hasEnded, false)
  await clock.tickAsync(1)
  t.equal(hasEnded, true)
})

t.test('a timeout of more than 500 times pluginTimeout is refused', async (t) => {
  const { shutdown } = newShutdown(t, { timeout: 10_000 })
  t.equal(shutdown.preCloseHooks(21).length, 954)
  t.throws(() => shutdown.preCloseHooks(20), { code: 'FST_WSA_BAD_OPTION', message: /shutdown\.timeout: expected at most 500 times Fastify's pluginTimeout, received 10000/ })
})

t.test('withoutFailing() runs a preClose hook of either kind with the app as this, and logs what it fails with', async (t) => {
  const { lines, logger } = captureLog()
  const app = Fastify({ logger })
  const receivers: unknown[] = []
  const calls = [
    withoutFailing(async function (this: unknown) { receivers.push(this) }, app.log),
    withoutFailing(function (this: unknown, done) {
      receivers.push(this)
      done()
    }, app.log)
  ]
  for (const call of calls) await call.call(app)
  t.ok(receivers.length === 2 && receivers.every((receiver) => receiver === app))
  t.same(lines, [])
  const error = new Error('of the hook')
  const failures = [
    withoutFailing(async () => { throw error }, app.log),
    withoutFailing((done) => { (done as (error: Error) => void)(error) }, app.log), // an error is passed on at run time
    withoutFailing((_done) => { throw error }, app.log)
  ]
  for (const failure of failures) await failure.call(app)
  t.same(messagesOf(lines), Array(3).fill('websocket preClose failed'))
  t.match(lines[0], { level: 50, err: { message: 'of the hook' } })
})

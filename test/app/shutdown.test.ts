import { install } from '@sinonjs/fake-timers'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import type { WebSocketCollection } from '../../lib/app/collection.js'
import { readOptions, type ShutdownOptions } from '../../lib/plugin/options.js'
import { Shutdown } from '../../lib/app/shutdown.js'

/** A shutdown on a fake clock, over connections that note what happens to them and when. */
function play (t: Test, options: ShutdownOptions = {}, names: string[] = []) {
  const clock = install({ toFake: ['setTimeout', 'clearTimeout'] })
  t.teardown(() => clock.uninstall())
  const log: string[] = []
  const note = (what: string) => log.push(`${what} ${clock.now}`)
  const connections = new Set(names.map((name) => ({
    drain: () => note(`drain ${name}`),
    closeForShutdown: () => note(`close ${name}`),
    terminateForShutdown: () => note(`terminate ${name}`)
  })))
  const collection = Object.assign(connections, { isClosing: false, onRemoval: () => {} })
  const shutdown = new Shutdown(collection as unknown as WebSocketCollection, readOptions({ shutdown: options }, 1000), Fastify().log)
  const end = (index: number) => {
    connections.delete([...connections][index]!)
    collection.onRemoval()
  }
  const handler = { lifetime: new Promise<void>(() => {}), excuse: () => note('excuse') }
  const start = () => { shutdown.start().then(() => note('end')) }
  return { clock, log, collection, shutdown, handler, end, start }
}

t.test('with the defaults a handler that never ends is waited for until 8 s, its connection terminated half a second before', async (t) => {
  const { clock, log, shutdown, handler, start } = play(t, {}, ['a'])
  shutdown.handlerOnStart(handler)
  start()
  await clock.tickAsync(20_000)
  t.same(log, ['drain a 0', 'close a 5000', 'terminate a 7500', 'end 8000'])
  t.equal(clock.countTimers(), 0)
})

t.test('a short timeout leaves a tenth of it for handlers to notice', async (t) => {
  const { clock, log, start } = play(t, { timeout: 100 }, ['a'])
  start()
  await clock.tickAsync(1_000)
  t.same(log, ['drain a 0', 'terminate a 90', 'end 100'])
})

t.test('it ends as soon as the last connection, upgrade and handler have ended', async (t) => {
  const { clock, log, shutdown, handler, end, start, collection } = play(t, {}, ['a'])
  const upgrade = { refuse: () => log.push('refuse'), destroy: () => log.push('destroy') }
  shutdown.addUpgrade(upgrade)
  shutdown.handlerOnStart(handler)
  start()
  t.ok(collection.isClosing)
  await clock.tickAsync(100)
  end(0)
  await clock.tickAsync(100)
  shutdown.handlerOnEnd(handler)
  await clock.tickAsync(100)
  shutdown.deleteUpgrade(upgrade)
  await clock.tickAsync(0)
  t.same(log, ['refuse', 'drain a 0', 'end 300'])
  t.equal(clock.countTimers(), 0)
})

t.test('connections take their turn, spread evenly, each with its whole grace', async (t) => {
  const { clock, log, start } = play(t, { spread: 300, grace: 150, timeout: 1000 }, ['a', 'b', 'c'])
  start()
  await clock.tickAsync(899)
  t.same(log, ['drain a 0', 'drain b 100', 'close a 150', 'drain c 200', 'close b 250', 'close c 350'])
})

t.test('it starts once', async (t) => {
  const { clock, log, shutdown, start } = play(t, {}, ['a'])
  t.equal(shutdown.start(), shutdown.start())
  start()
  await clock.tickAsync(8_000)
  t.same(log.filter((line) => line.startsWith('drain')), ['drain a 0'])
})

t.test('nothing is left to do: it ends at once', async (t) => {
  const { clock, log, start } = play(t)
  start()
  await clock.tickAsync(0)
  t.same(log, ['end 0'])
})

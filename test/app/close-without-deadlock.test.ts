import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { closeWithoutDeadlock } from '../../lib/app/close-without-deadlock.js'
import { Lifecycle, type RunningHandler } from '../../lib/app/lifecycle.js'
import { deferred } from '../fixtures/deferred.js'

/** An app that closes when the test resolves `closed`, and begins its shutdown when it is told to close. */
function newApp () {
  const lifecycle = new Lifecycle()
  const closed = deferred<undefined>()
  const calls: { receiver: unknown, args: unknown[] }[] = []
  const original = {
    close (this: unknown, ...args: unknown[]) {
      calls.push({ receiver: this, args })
      lifecycle.beginClosing()
      return closed.promise
    }
  } as unknown as FastifyInstance
  const app = { close: closeWithoutDeadlock(original, lifecycle) } as FastifyInstance
  const excused: string[] = []
  /** Runs a function as a handler that is tracked until it ends. */
  const handle = (name: string, run: () => Promise<void>) => {
    const ended = run()
    const handler: RunningHandler = { lifetime: ended.then(() => lifecycle.untrackHandler(handler)), excuse: () => { excused.push(name) } }
    lifecycle.trackHandler(handler)
    return handler
  }
  const turn = () => new Promise(setImmediate)
  return { app, lifecycle, closed, calls, excused, handle, turn }
}

t.test('a handler that awaits app.close() is excused, and not waited for any longer', async (t) => {
  const { app, lifecycle, closed, excused, handle, turn } = newApp()
  const other = handle('other', () => new Promise(() => {}))
  const closer = handle('closer', async () => {
    await null
    await app.close()
  })
  await turn()
  t.same(excused, ['closer'])
  t.strictSame([...lifecycle.handlers], [other])
  closed.resolve(undefined)
  await closer.lifetime
})

t.test('a handler that awaits app.close() through another function is excused', async (t) => {
  const { app, excused, handle, turn } = newApp()
  async function stop (): Promise<void> {
    await app.close()
  }
  handle('closer', async () => {
    await null
    await stop()
  })
  await turn()
  t.same(excused, ['closer'])
})

t.test('a handler is excused once, though it calls app.close() again', async (t) => {
  const { app, closed, excused, handle, turn } = newApp()
  const closer = handle('closer', async () => {
    await null
    await app.close()
    await app.close()
  })
  await turn()
  closed.resolve(undefined)
  await closer.lifetime
  t.same(excused, ['closer'])
})

t.test('each of several handlers that await app.close() is excused', async (t) => {
  const { app, lifecycle, excused, handle, turn } = newApp()
  for (const name of ['first', 'second']) {
    handle(name, async () => {
      await null
      await app.close()
    })
  }
  await turn()
  t.same(excused, ['first', 'second'])
  t.equal(lifecycle.handlers.size, 0)
})

t.test('no handler is excused if none awaits app.close()', async (t) => {
  const { app, lifecycle, closed, excused, handle, turn } = newApp()
  handle('closes without await', async () => {
    await null
    app.close()
    await new Promise(() => {})
  })
  const ended = app.close()
  await turn()
  t.same(excused, [])
  t.equal(lifecycle.handlers.size, 1)
  closed.resolve(undefined)
  t.equal(await ended, undefined)
})

t.test('app.close() calls the original close of the app once, with the app as this, and rejects as it does', async (t) => {
  const { app, closed, calls } = newApp()
  const ended = app.close()
  t.equal(calls.length, 1)
  t.equal(calls[0]?.receiver, app)
  t.same(calls[0]?.args, [])
  closed.reject(new Error('a hook failed'))
  await t.rejects(ended, { message: 'a hook failed' })
})

t.test('app.close(listener) is passed on', async (t) => {
  const { app, calls } = newApp()
  const listener = () => {}
  app.close(listener)
  t.strictSame(calls[0]?.args, [listener])
})

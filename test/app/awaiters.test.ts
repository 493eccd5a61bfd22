import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { Awaiters } from '../../lib/app/awaiters.js'
import { deferred } from '../fixtures/deferred.js'

/** Owners of promises that end when `ask` has; `ask` tells which of them awaits it. */
function owners (count: number) {
  const awaiters = new Awaiters<number>()
  const asked = deferred<number | undefined>()
  const mayAsk = deferred()
  async function ask (): Promise<void> {
    await mayAsk.promise
    asked.resolve(awaiters.ofCaller())
    await new Promise(() => {})
  }
  return {
    add (owner: number, promise: Promise<unknown>) { awaiters.add(owner, promise) },
    ask,
    others () { for (let i = 0; i < count; i++) awaiters.add(i, new Promise(() => {})) },
    async answer () {
      await nextTurn()
      mayAsk.resolve()
      return asked.promise
    }
  }
}

t.test('the one that awaits the caller is found among many', async (t) => {
  const { add, ask, others, answer } = owners(1000)
  others()
  const promise = (async () => { await ask() })()
  add(4321, promise.then(() => {}, () => {}))
  add(4321, promise) // has no effect
  t.equal(await answer(), 4321)
})

t.test('nobody is found where nobody awaits it', async (t) => {
  const { add, ask, others, answer } = owners(10)
  others()
  ask()
  add(4321, (async () => { await null })())
  t.equal(await answer(), undefined)
})

t.test('it is found through a hundred functions, whatever the application has made of Error, which stays as it is', async (t) => {
  const { stackTraceLimit, prepareStackTrace } = Error
  t.teardown(() => Object.assign(Error, { stackTraceLimit, prepareStackTrace }))
  const prepare = () => 'of the application'
  Object.assign(Error, { stackTraceLimit: 0, prepareStackTrace: prepare })
  const { add, ask, answer } = owners(0)
  const through = async (depth: number): Promise<void> => { await (depth === 0 ? ask() : through(depth - 1)) }
  add(1, through(100))
  const found = await answer()
  t.same([Error.stackTraceLimit, Error.prepareStackTrace], [0, prepare])
  Object.assign(Error, { stackTraceLimit, prepareStackTrace })
  t.equal(found, 1)
})

t.test('where the engine has no such traces, nobody is found', async (t) => {
  const { add, ask, answer } = owners(0)
  add(1, ask())
  const { Error } = globalThis
  globalThis.Error = Object.assign(function () { return { stack: 'close@app.js' } }, { stackTraceLimit: 10 }) as unknown as ErrorConstructor
  t.teardown(() => { globalThis.Error = Error })
  const found = await answer()
  globalThis.Error = Error
  t.equal(found, undefined)
})

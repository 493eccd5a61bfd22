import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { AwaiterFinder } from '../../lib/app/awaiter-finder.js'
import { deferred } from '../fixtures/deferred.js'

/** A finder with owners that are numbers. `ask()` is the function to await; `answer()` gives the owner that it finds. */
function owners (count: number) {
  const finder = new AwaiterFinder<number>()
  const asked = deferred<number | undefined>()
  const mayAsk = deferred()
  async function ask (): Promise<void> {
    await mayAsk.promise
    asked.resolve(finder.findForCaller())
    await new Promise(() => {})
  }
  return {
    add (owner: number, promise: Promise<unknown>) { finder.add(owner, promise) },
    ask,
    others () { for (let i = 0; i < count; i++) finder.add(i, new Promise(() => {})) },
    async answer () {
      await nextTurn()
      mayAsk.resolve()
      return asked.promise
    }
  }
}

t.test('findForCaller() finds the owner that awaits the caller among a thousand', async (t) => {
  const { add, ask, others, answer } = owners(1000)
  others()
  const promise = (async () => { await ask() })()
  add(4321, promise.then(() => {}, () => {}))
  add(4321, promise) // a second function that awaits the promise would hide it
  t.equal(await answer(), 4321)
})

t.test('findForCaller() finds nothing if no owner awaits the caller', async (t) => {
  const { add, ask, others, answer } = owners(10)
  others()
  ask()
  add(4321, (async () => { await null })())
  t.equal(await answer(), undefined)
})

t.test('findForCaller() looks through a hundred functions, whatever the application has set on Error, and restores that', async (t) => {
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

for (const stack of ['close@app.js', undefined]) {
  t.test(`findForCaller() finds nothing on an engine whose stack traces are ${typeof stack}`, async (t) => {
    const { add, ask, answer } = owners(0)
    add(1, ask())
    const { Error } = globalThis
    globalThis.Error = Object.assign(function () { return { stack } }, { stackTraceLimit: 10 }) as unknown as ErrorConstructor
    t.teardown(() => { globalThis.Error = Error })
    const found = await answer().finally(() => { globalThis.Error = Error })
    t.equal(found, undefined)
  })
}

t.test('findForCaller() finds nothing if Error is frozen', async (t) => {
  const { add, ask, answer } = owners(0)
  add(1, ask())
  const { Error } = globalThis
  globalThis.Error = Object.freeze(class extends Error {}) as ErrorConstructor
  t.teardown(() => { globalThis.Error = Error })
  const found = await answer().finally(() => { globalThis.Error = Error })
  t.equal(found, undefined)
})

import { getEventListeners } from 'node:events'
import t from 'tap'
import { AbortableCalls } from '../../lib/base/abortable-calls.js'

const listeners = (signal: AbortSignal) => getEventListeners(signal, 'abort').length

t.test('a signal has one listener while calls wait with it, and none before and after', async (t) => {
  const { signal } = new AbortController()
  const calls = AbortableCalls.of(signal)
  t.equal(AbortableCalls.of(signal), calls)
  t.not(AbortableCalls.of(new AbortController().signal), calls)
  t.equal(listeners(signal), 0)
  const cancels = Array.from({ length: 100 }, () => () => {})
  for (const cancel of cancels) calls.add(cancel)
  t.equal(listeners(signal), 1)
  const [first, last] = [cancels.shift()!, cancels.pop()!]
  for (const cancel of [first, ...cancels]) calls.delete(cancel)
  t.equal(listeners(signal), 1)
  calls.delete(last)
  t.equal(listeners(signal), 0)
  calls.delete(last)
  calls.add(first)
  t.equal(listeners(signal), 1)
})

t.test('an abort ends the calls that still wait, in the order in which they came', async (t) => {
  const controller = new AbortController()
  const calls = AbortableCalls.of(controller.signal)
  const ended: number[] = []
  const cancels = Array.from({ length: 6 }, (_, i) => () => {
    ended.push(i)
    calls.delete(cancels[i]!)
    if (i === 2) calls.delete(cancels[4]!) // it ends another one
  })
  for (const cancel of cancels) calls.add(cancel)
  calls.delete(cancels[0]!)
  calls.add(cancels[0]!)
  controller.abort()
  t.same(ended, [1, 2, 3, 5, 0])
  t.equal(listeners(controller.signal), 0)
})

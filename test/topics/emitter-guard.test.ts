import { EventEmitter } from 'node:events'
import t from 'tap'
import { guardListeners } from '../../lib/topics/emitter-guard.js'

for (const name of ['messageBuffer', 'pmessageBuffer']) {
  t.test(`guardListeners() passes what a '${name}' listener throws to onError`, async (t) => {
    const subConn = new EventEmitter()
    const calls: unknown[] = []
    const thrown: unknown[] = []
    subConn.on(name, function (this: unknown, ...args: unknown[]) {
      calls.push([this === subConn, ...args])
      if (args[0] === 'bad') throw new RangeError('bad')
    })
    subConn.on(name, (...args) => calls.push(['second', ...args]))
    guardListeners({ subConn }, (error) => thrown.push(error))
    subConn.emit(name, 'topic', 'message')
    t.same(calls.splice(0), [[true, 'topic', 'message'], ['second', 'topic', 'message']], 'each listener is called once, in order')
    t.same(thrown, [])
    subConn.emit(name, 'bad')
    t.same(calls, [[true, 'bad'], ['second', 'bad']], 'the next listener is called all the same')
    t.match(thrown, [{ name: 'RangeError', message: 'bad' }])
  })
}

t.test('guardListeners() leaves other events and other emitters unchanged', async (t) => {
  const subConn = new EventEmitter()
  const listener = () => { throw new Error('of another event') }
  subConn.on('message', listener)
  guardListeners({ subConn }, () => t.fail())
  t.same(subConn.listeners('message'), [listener])
  for (const emitter of [{}, { subConn: undefined }, { subConn: null }, { subConn: {} }]) guardListeners(emitter, () => t.fail())
})

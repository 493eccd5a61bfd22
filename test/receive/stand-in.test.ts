import { EventEmitter } from 'node:events'
import t from 'tap'
import { standInMaker } from '../../lib/receive/stand-in.js'

/** Puts stand-ins that call the listener after they have noted themselves; `made` counts them. */
function newMaker () {
  const log: unknown[] = []
  const made = { count: 0 }
  const replace = standInMaker((theirs) => {
    made.count++
    return function (...args) {
      log.push('stand-in')
      Reflect.apply(theirs, this, args)
    }
  })
  const note = (name: string) => function (this: unknown, ...args: unknown[]) { log.push([name, this, ...args]) }
  return { log, made, replace, note }
}

t.test('a stand-in takes the place of the listener that was added last, and of no other', async (t) => {
  const { log, replace, note } = newMaker()
  const emitter = new EventEmitter()
  emitter.on('data', note('first'))
  emitter.on('data', note('last'))
  emitter.on('other', note('other'))
  replace(emitter, 'data')
  emitter.on('data', note('later'))
  emitter.emit('data', 1, 2)
  t.strictSame(log, [['first', emitter, 1, 2], 'stand-in', ['last', emitter, 1, 2], ['later', emitter, 1, 2]])
  log.length = 0
  emitter.emit('other')
  t.strictSame(log, [['other', emitter]])
})

t.test('whoever takes the listener off takes off the stand-in, and finds the listener in its place until then', async (t) => {
  for (const off of ['off', 'removeListener'] as const) {
    const { log, replace, note } = newMaker()
    const emitter = new EventEmitter()
    const theirs = note('theirs')
    emitter.on('data', theirs)
    replace(emitter, 'data')
    t.same(emitter.listeners('data'), [theirs])
    t.equal(emitter.listenerCount('data'), 1)
    emitter[off]('data', theirs)
    emitter.emit('data')
    t.same(log, [])
    t.equal(emitter.listenerCount('data'), 0)
  }
})

t.test('emitters that share a listener share its stand-in, and others do not', async (t) => {
  const { made, replace, note } = newMaker()
  const [shared, other] = [note('shared'), note('other')]
  const emitters = [shared, shared, other].map((listener) => new EventEmitter().on('data', listener))
  for (const emitter of emitters) replace(emitter, 'data')
  const [one, same, another] = emitters.map((emitter) => emitter.rawListeners('data')[0])
  t.equal(one, same)
  t.not(one, another)
  t.equal(made.count, 2)
})

t.test('where nobody listens, a stand-in has nothing to call', async (t) => {
  const { log, made, replace } = newMaker()
  const emitters = [new EventEmitter(), new EventEmitter()]
  for (const emitter of emitters) {
    replace(emitter, 'data')
    emitter.emit('data', 1)
  }
  t.same(log, ['stand-in', 'stand-in'])
  t.equal(made.count, 1)
})

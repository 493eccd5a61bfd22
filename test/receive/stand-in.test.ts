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
  emitter.on('event', note('first'))
  emitter.on('event', note('last'))
  emitter.on('other', note('other'))
  replace(emitter, 'event')
  emitter.on('event', note('later'))
  emitter.emit('event', 1, 2)
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
    emitter.on('event', theirs)
    replace(emitter, 'event')
    t.same(emitter.listeners('event'), [theirs])
    t.equal(emitter.listenerCount('event'), 1)
    emitter[off]('event', theirs)
    emitter.emit('event')
    t.same(log, [])
    t.equal(emitter.listenerCount('event'), 0)
  }
})

t.test('emitters that share a listener share its stand-in, and others do not', async (t) => {
  const { made, replace, note } = newMaker()
  const [shared, other] = [note('shared'), note('other')]
  const emitters = [shared, shared, other].map((listener) => new EventEmitter().on('event', listener))
  for (const emitter of emitters) replace(emitter, 'event')
  const [one, same, another] = emitters.map((emitter) => emitter.rawListeners('event')[0])
  t.equal(one, same)
  t.not(one, another)
  t.equal(made.count, 2)
})

t.test('where nobody listens, a stand-in has nothing to call', async (t) => {
  const { log, made, replace } = newMaker()
  const emitters = [new EventEmitter(), new EventEmitter()]
  for (const emitter of emitters) {
    replace(emitter, 'event')
    emitter.emit('event', 1)
  }
  t.same(log, ['stand-in', 'stand-in'])
  t.equal(made.count, 1)
})

import t from 'tap'
import { FRAMED, Gathered } from '../../lib/send/gathered.js'
import { readAllFrames } from '../fixtures/frames.js'

t.test('takeInto() writes messages and frames in order, and keeps nothing', (t) => {
  const gathered = new Gathered()
  gathered.add('ü', 2)
  gathered.add('\x81\x01a\x82\x01\xff', FRAMED)
  gathered.add(Buffer.from('b'), 1)
  gathered.add(Buffer.from([0x81, 1, 0x63]), FRAMED)
  const memory = Buffer.alloc(16)
  gathered.takeInto(memory)
  t.same(readAllFrames(memory).map(({ opcode, payload }) => [opcode, payload.toString('latin1')]), [
    [1, Buffer.from('ü').toString('latin1')], [1, 'a'], [2, '\xff'], [2, 'b'], [1, 'c']
  ])
  const nothing = Buffer.alloc(3)
  gathered.takeInto(nothing)
  t.same(nothing, Buffer.alloc(3))
  t.end()
})

t.test('takeOnlyFrame() takes a frame that is alone, and neither a message nor a string', (t) => {
  const frame = Buffer.from([0x81, 1, 0x61])
  const taken = (...messages: [string | Buffer, number][]) => {
    const gathered = new Gathered()
    for (const message of messages) gathered.add(...message)
    return [gathered.takeOnlyFrame(), gathered.takeOnlyFrame()]
  }
  t.same(taken([frame, FRAMED]), [frame, undefined])
  t.same(taken([frame, FRAMED], [frame, FRAMED]), [undefined, undefined])
  t.same(taken([frame, 3]), [undefined, undefined])
  t.same(taken(['\x81\x01a', FRAMED]), [undefined, undefined])
  t.end()
})

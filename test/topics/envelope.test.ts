import fc from 'fast-check'
import t from 'tap'
import { Envelopes, fromWire, isEnvelope, PROBE_TOPIC, toWire, unwrap } from '../../lib/topics/envelope.js'

t.test('a publication survives the way through JSON', async (t) => {
  const envelopes = new Envelopes()
  for (const data of ['text', '', 'ä😀', Buffer.from([0, 128, 255]), Buffer.alloc(0)]) {
    const envelope: unknown = JSON.parse(JSON.stringify(envelopes.wrap('room', data)))
    t.ok(isEnvelope(envelope as object))
    t.same(unwrap(envelope as never), data)
  }
})

t.test('Envelopes numbers publications of the node and of each topic, including those it skips', async (t) => {
  const envelopes = new Envelopes()
  const numbers = (topic: string) => {
    const { node, sequence, count } = envelopes.wrap(topic, '')
    t.equal(node, envelopes.node)
    return [sequence, count]
  }
  t.same(numbers('a'), [0, 1])
  t.same(numbers('a'), [1, 2])
  t.same(numbers('b'), [2, 1])
  envelopes.skip('a')
  t.same(numbers('a'), [4, 4])
  t.not(new Envelopes().node, envelopes.node)
})

t.test('isEnvelope() accepts only what wrap() can have made', async (t) => {
  const envelope = { ...new Envelopes().wrap('room', 'x') }
  t.ok(isEnvelope(envelope))
  t.ok(isEnvelope({ ...envelope, extra: 1 } as object))
  const changes: object[] = [
    { text: undefined }, { text: 42 }, { text: null, base64: 42 }, { node: 1 }, { topic: 'room' }, { topic: PROBE_TOPIC }, { topic: 1 },
    ...['1', 1e308, -1, 0.5, NaN, undefined].flatMap((value) => [{ count: value }, { sequence: value }])
  ]
  for (const change of changes) t.notOk(isEnvelope({ ...envelope, ...change }), Object.entries(change).join())
})

t.test('toWire() adds the prefix and escapes the glob characters of Redis; fromWire() is its inverse', async (t) => {
  t.equal(toWire('a/+/#'), 'fastify-websocket-async/a/+/#')
  t.equal(toWire('%*?[a]\\^'), 'fastify-websocket-async/%25%2a%3f%5ba%5d%5c%5e')
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (topic) => fromWire(toWire(topic)) === topic && !/[*?[\]\\^]/.test(toWire(topic))))
})

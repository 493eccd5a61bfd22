import t from 'tap'
import { GapDetector, type LastCounts, type PublicationGap } from '../../lib/topics/gap-detector.js'

/** A detector, the gaps it reports, and `arrive()`: whether a publication on the topic `a` is new. */
function newDetector () {
  const gaps: PublicationGap[] = []
  const detector = new GapDetector((gap) => gaps.push(gap))
  return {
    gaps,
    newCounts: () => detector.newCounts(),
    arrive (counts: LastCounts, count: number, { node = 'other', topic = 'a', sequence = count } = {}) {
      return detector.isNew({ topic: `wire/${topic}`, node, sequence, count }, topic, counts)
    }
  }
}

t.test('a gap is reported with its topic and its size, when the next publication on the topic arrives', async (t) => {
  const { gaps, newCounts, arrive } = newDetector()
  const counts = newCounts()
  t.equal(arrive(counts, 7), true)
  t.same(gaps, [], 'what was published before the first that arrives is not missed')
  arrive(counts, 8)
  arrive(counts, 5, { topic: 'b', sequence: 9 })
  t.equal(arrive(counts, 100, { node: 'third', sequence: 8 }), true, 'each sender has its own sequence')
  t.same(gaps, [], 'each sender and each topic has its own count')
  t.equal(arrive(counts, 12), true)
  t.same(gaps.splice(0), [{ topic: 'a', missed: 3 }])
  arrive(counts, 13)
  t.same(gaps, [])
})

t.test('a publication is new once, through whichever subscription it arrives', async (t) => {
  const { gaps, newCounts, arrive } = newDetector()
  const [first, second] = [newCounts(), newCounts()]
  t.same([arrive(first, 1), arrive(second, 1), arrive(first, 1)], [true, false, false])
  t.same([arrive(second, 2), arrive(first, 2)], [true, false])
  t.same(gaps, [])
})

t.test('a publication that arrives again does not turn the count back', async (t) => {
  const { gaps, newCounts, arrive } = newDetector()
  const counts = newCounts()
  for (const count of [1, 2, 1, 3]) arrive(counts, count)
  t.same(gaps, [])
})

t.test('a gap is reported once, though several subscriptions notice it', async (t) => {
  const { gaps, newCounts, arrive } = newDetector()
  const [older, younger] = [newCounts(), newCounts()]
  arrive(older, 1)
  arrive(older, 4)
  t.equal(arrive(younger, 4), false)
  t.same(gaps.splice(0), [{ topic: 'a', missed: 2 }], 'the younger subscription has missed nothing')
  arrive(older, 7)
  arrive(younger, 7)
  t.same(gaps.splice(0), [{ topic: 'a', missed: 2 }])
})

t.test('a gap is reported in full, though the subscription that has missed nothing comes first', async (t) => {
  const { gaps, newCounts, arrive } = newDetector()
  const [older, middle, youngest] = [newCounts(), newCounts(), newCounts()]
  arrive(older, 1)
  arrive(middle, 3)
  arrive(youngest, 7)
  t.same(gaps, [])
  for (const counts of [middle, youngest]) arrive(counts, 7)
  t.same(gaps.splice(0), [{ topic: 'a', missed: 3 }])
  t.equal(arrive(older, 7), false)
  t.same(gaps, [{ topic: 'a', missed: 2 }], 'only what is reported for the first time')
})

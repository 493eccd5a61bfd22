import t from 'tap'
import { BoundedMap } from '../../lib/topics/bounded-map.js'

t.test('BoundedMap removes the entry that was set the longest time ago', async (t) => {
  const map = new BoundedMap<number>(2)
  const values = () => ['a', 'b', 'c'].map((key) => map.get(key))
  map.set('a', 1)
  map.set('b', 2)
  t.same(values(), [1, 2, undefined])
  map.set('c', 3)
  t.same(values(), [undefined, 2, 3])
})

t.test('BoundedMap counts an entry that is set again as the newest', async (t) => {
  const map = new BoundedMap<number>(2)
  map.set('a', 1)
  map.set('b', 2)
  map.set('a', 3)
  t.same([map.get('a'), map.get('b')], [3, 2], 'nothing is removed')
  map.get('b') // reading does not make it newer
  map.set('c', 4)
  t.same(['a', 'b', 'c'].map((key) => map.get(key)), [3, undefined, 4])
})

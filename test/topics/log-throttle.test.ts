import t from 'tap'
import { LogThrottle } from '../../lib/topics/log-throttle.js'
import { fakeClock } from '../fixtures/fake-clock.js'

t.test('LogThrottle lets the first event of a series be logged, which ends after 30 s without one', async (t) => {
  const clock = fakeClock(t)
  const throttle = new LogThrottle()
  t.equal(throttle.isDue(), true)
  for (let i = 0; i < 10; i++) {
    t.equal(throttle.isDue(), false)
    clock.tick(29_999)
  }
  t.equal(throttle.isDue(), false)
  clock.tick(30_000)
  t.equal(throttle.isDue(), true)
})

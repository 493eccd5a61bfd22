import t from 'tap'
import { TimerWheel, type Slot } from '../../lib/connection/timer-wheel.js'
import { fakeClock } from '../fixtures/fake-clock.js'

t.test('every member has one tick in a period, whenever it joined', async (t) => {
  const clock = fakeClock(t, ['setInterval', 'clearInterval'])
  const wheel = new TimerWheel(1600)
  const ticks: number[][] = []
  const joined: number[] = []
  for (let i = 0; i < 50; i++) {
    const own: number[] = []
    ticks.push(own)
    joined.push(clock.now)
    wheel.join({ tick: () => { own.push(clock.now) } })
    clock.tick(37)
  }
  clock.tick(16_000)
  for (const [i, own] of ticks.entries()) {
    const first = own[0] as number - (joined[i] as number)
    t.ok(first > 1400 && first <= 1600, `first tick after ${first}`)
    t.ok(own.every((time, j) => j === 0 || time - (own[j - 1] as number) === 1600))
  }
  t.ok(new Set(ticks.map(([first]) => first as number % 1600)).size > 10, 'not all at once')
  t.equal(clock.countTimers(), 1)
})

t.test('a member that has left has no tick, and the timer stops with the last member', async (t) => {
  const clock = fakeClock(t, ['setInterval', 'clearInterval'])
  const wheel = new TimerWheel(100, 4)
  const slots = new Map<{ tick (): void }, Slot>()
  let ticks = 0
  for (let i = 0; i < 8; i++) {
    const member = {
      tick () {
        ticks++
        const slot = slots.get(member) as Slot
        wheel.leave(member, slot)
        wheel.leave(member, slot)
      }
    }
    slots.set(member, wheel.join(member))
  }
  clock.tick(1000)
  t.equal(ticks, 8)
  t.equal(clock.countTimers(), 0)
})

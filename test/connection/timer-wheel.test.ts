import { install } from '@sinonjs/fake-timers'
import t, { type Test } from 'tap'
import { Rounds, type Seat } from '../../lib/connection/timer-wheel.js'

function fakeClock (t: Test) {
  const clock = install({ toFake: ['setInterval', 'clearInterval'] })
  t.teardown(() => clock.uninstall())
  return clock
}

t.test('every member is visited once in a period, whenever it joined', async (t) => {
  const clock = fakeClock(t)
  const rounds = new Rounds(1600)
  const visits: number[][] = []
  const joined: number[] = []
  for (let i = 0; i < 50; i++) {
    const own: number[] = []
    visits.push(own)
    joined.push(clock.now)
    rounds.join({ visit: () => { own.push(clock.now) } })
    clock.tick(37)
  }
  clock.tick(16_000)
  for (const [i, own] of visits.entries()) {
    const first = own[0] as number - (joined[i] as number)
    t.ok(first > 1400 && first <= 1600, `first visited after ${first}`)
    t.ok(own.every((time, j) => j === 0 || time - (own[j - 1] as number) === 1600))
  }
  t.ok(new Set(visits.map(([first]) => first as number % 1600)).size > 10, 'not all at once')
  t.equal(clock.countTimers(), 1)
})

t.test('who leaves is not visited any more, and with the last the timer goes', async (t) => {
  const clock = fakeClock(t)
  const rounds = new Rounds(100, 4)
  const seats = new Map<{ visit (): void }, Seat>()
  let visits = 0
  for (let i = 0; i < 8; i++) {
    const member = {
      visit () {
        visits++
        const seat = seats.get(member) as Seat
        rounds.leave(member, seat)
        rounds.leave(member, seat)
      }
    }
    seats.set(member, rounds.join(member))
  }
  clock.tick(1000)
  t.equal(visits, 8)
  t.equal(clock.countTimers(), 0)
})

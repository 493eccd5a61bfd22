import t, { type Test } from 'tap'
import { Pings } from '../../lib/connection/pings.js'
import { fakeClock } from '../fixtures/fake-clock.js'

/** Pings on a fake clock: `results` has the number of each ping that has ended and its round trip, in order. */
function newPings (t: Test) {
  const clock = fakeClock(t)
  const payloads: string[] = []
  const results: [ping: number, latency: number | null][] = []
  const pings = new Pings({ ping: (payload) => { payloads.push(payload) } })
  const send = () => {
    const number = payloads.length
    return pings.send((latency) => { results.push([number, latency]) })
  }
  const pong = (number: number) => pings.pongOnReceive(payloads[number] as string)
  return { clock, pings, payloads, results, send, pong }
}

t.test('each ping has a payload of its own', async (t) => {
  const { payloads, send } = newPings(t)
  for (let i = 0; i < 100; i++) send()
  t.equal(new Set(payloads).size, 100)
})

t.test('a pong answers its ping and those before it, each with its own round trip', async (t) => {
  const { clock, pings, results, send, pong } = newPings(t)
  for (let i = 0; i < 4; i++) {
    send()
    clock.tick(10)
  }
  pong(2)
  t.same(results, [[0, 40], [1, 30], [2, 20]])
  t.equal(pings.latency, 20, 'that of the latest')
  clock.tick(5)
  pong(3)
  t.same(results.slice(3), [[3, 15]])
  t.equal(pings.latency, 15)
})

t.test('a pong that answers nothing changes nothing', async (t) => {
  const { pings, results, send, pong } = newPings(t)
  pings.pongOnReceive('1')
  t.equal(pings.latency, null)
  send()
  pings.pongOnReceive('unsolicited')
  pings.pongOnReceive('')
  t.same(results, [])
  pong(0)
  pong(0)
  t.same(results, [[0, 0]], 'a second pong for one ping is ignored')
})

t.test('a ping for which nobody waits any longer has no round trip', async (t) => {
  const { clock, pings, results, send, pong } = newPings(t)
  const ping = send()
  send()
  clock.tick(10)
  ping.finish(null)
  pong(0)
  t.same(results, [[0, null]])
  t.equal(pings.latency, null)
  pong(1)
  t.same(results, [[0, null], [1, 10]])
})

t.test('end() finishes every ping that waits, once', async (t) => {
  const { pings, results, send, pong } = newPings(t)
  send()
  pong(0)
  send()
  send()
  pings.end()
  pings.end()
  t.same(results, [[0, 0], [1, null], [2, null]])
  t.equal(pings.latency, 0, 'the last that was measured')
})

t.test('a ping that is sent while a pong is handled waits for its own pong', async (t) => {
  const { pings, payloads } = newPings(t)
  const results: (number | null)[] = []
  pings.send(() => { pings.send((latency) => results.push(latency)) })
  pings.pongOnReceive(payloads[0] as string)
  t.same(results, [])
  pings.pongOnReceive(payloads[1] as string)
  t.same(results, [0])
})

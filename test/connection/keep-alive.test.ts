import t, { type Test } from 'tap'
import { KeepAlive, type KeepAliveSettings } from '../../lib/connection/keep-alive.js'
import { TimerWheel } from '../../lib/connection/timer-wheel.js'
import { fakeClock } from '../fixtures/fake-clock.js'
import { measureMemory } from '../fixtures/memory.js'

/** A keep-alive on a fake clock, and its peer, for which the test answers. */
function newKeepAlive (t: Test, settings: KeepAliveSettings | null = { interval: 1000, timeout: 500 }) {
  const clock = fakeClock(t)
  const log: string[] = []
  const peer = { inboundBytes: 0, isPaused: false, isHeard: false, lastPing: '' }
  const keepAlive = new KeepAlive({
    _inbound: { get bytesRead () { return peer.inboundBytes } },
    _queue: { readAhead: () => { log.push(`read ahead ${clock.now}`) } },
    socket: {
      get isPaused () { return peer.isPaused },
      ping (payload) {
        peer.lastPing = payload
        log.push(`ping ${clock.now}`)
      }
    },
    reportResumes: () => { peer.isHeard = true },
    terminateWith () {
      log.push(`terminate ${clock.now}`)
      keepAlive.stop()
    }
  }, settings, settings && new TimerWheel(settings.interval / 2, 1))
  keepAlive.start()
  const speak = () => { peer.inboundBytes++ }
  const pong = () => {
    speak()
    if (peer.isHeard) keepAlive.pongOnReceive(peer.lastPing)
  }
  return { clock, log, peer, keepAlive, speak, pong }
}

t.test('a silent peer is pinged, and terminated within interval + timeout', async (t) => {
  const { clock, log } = newKeepAlive(t)
  clock.tick(10_000)
  t.same(log, ['ping 1000', 'terminate 1500'])
  t.equal(clock.countTimers(), 0)
})

t.test('a peer is terminated within interval + timeout, whenever it falls silent', async (t) => {
  for (let last = 0; last < 3000; last += 50) {
    const { clock, log, speak } = newKeepAlive(t)
    for (let now = 0; now <= last; now += 50) {
      speak()
      clock.tick(50)
    }
    clock.tick(10_000)
    const end = Number(log.at(-1)?.split(' ')[1])
    t.ok(end > last && end <= last + 50 + 1500, `fell silent at ${last}, cut off at ${end}`)
    clock.uninstall()
  }
})

t.test('a peer that pongs is not terminated, and is pinged once in an interval', async (t) => {
  const { clock, log, pong, keepAlive } = newKeepAlive(t)
  for (let i = 0; i < 3; i++) {
    clock.tick(1000)
    clock.tick(7)
    pong()
  }
  clock.tick(999)
  t.equal(keepAlive.latency, 7)
  t.same(log, ['ping 1000', 'ping 2007', 'ping 3014'])
})

t.test('a peer that sends data but no pongs is not terminated', async (t) => {
  const { clock, log, speak } = newKeepAlive(t)
  for (let i = 0; i < 100; i++) {
    clock.tick(300)
    speak()
  }
  t.notMatch(log.join(), /terminate/)
})

t.test('a peer that pongs once and then falls silent is terminated within interval + timeout', async (t) => {
  const { clock, log, pong } = newKeepAlive(t)
  clock.tick(1000)
  clock.tick(100)
  pong()
  clock.tick(10_000)
  t.same(log, ['ping 1000', 'ping 2100', 'terminate 2600'])
})

t.test('a deadline that fires late, after a blocked event loop, gives the peer more time', async (t) => {
  const { clock, log, pong } = newKeepAlive(t)
  clock.tick(1000)
  clock.jump(5_000) // the event loop was blocked
  t.same(log, ['ping 1000'])
  clock.tick(10)
  pong()
  clock.tick(999)
  t.notMatch(log.join(), /terminate/)
})

t.test('a deadline that fires late only delays the end of a dead peer', async (t) => {
  const { clock, log } = newKeepAlive(t)
  clock.tick(1000)
  clock.jump(5_000)
  t.notMatch(log.join(), /terminate/)
  clock.tick(600)
  t.match(log.at(-1), /terminate/)
})

t.test('while reading is paused only a pong shows that the peer is alive', async (t) => {
  await t.test('reading ahead finds the pong', async (t) => {
    const { clock, log, peer, pong } = newKeepAlive(t)
    peer.isPaused = true
    clock.tick(1000)
    t.same(log, ['ping 1000', 'read ahead 1000'])
    peer.isPaused = false // reading ahead has resumed reading
    pong()
    clock.tick(500)
    t.notMatch(log.join(), /terminate/)
  })
  await t.test('reading ahead finds only data that had been waiting', async (t) => {
    const { clock, log, peer, speak } = newKeepAlive(t)
    peer.isPaused = true
    clock.tick(1000)
    peer.isPaused = false
    speak()
    clock.tick(500)
    t.same(log.at(-1), 'terminate 1500')
  })
  await t.test('more is waiting than is read ahead, so the peer is not terminated', async (t) => {
    const { clock, log, peer } = newKeepAlive(t)
    peer.isPaused = true
    clock.tick(60_000)
    t.notMatch(log.join(), /terminate/)
    t.ok(log.filter((line) => line.startsWith('ping')).length > 50, 'it is pinged all the same, for a write may fail')
  })
  await t.test('the deadline starts again when reading is resumed', async (t) => {
    const { clock, log, peer, keepAlive } = newKeepAlive(t)
    peer.isPaused = true
    clock.tick(1490)
    peer.isPaused = false
    keepAlive.readingOnResume()
    clock.tick(499)
    t.notMatch(log.join(), /terminate/)
    clock.tick(2)
    t.match(log.at(-1), /terminate/)
  })
})

t.test('ping() resolves to the round trip, or to null after its timeout or when the keep-alive stops', async (t) => {
  const { clock, peer, keepAlive } = newKeepAlive(t, null)
  const answered = keepAlive.ping(1000)
  clock.tick(20)
  keepAlive.pongOnReceive(peer.lastPing)
  t.equal(await answered, 20)
  t.equal(clock.countTimers(), 0)
  const late = keepAlive.ping(100)
  clock.tick(100)
  t.equal(await late, null)
  const ended = [keepAlive.ping(100), keepAlive.ping(Infinity)]
  keepAlive.stop()
  t.same(await Promise.all(ended), [null, null])
  t.equal(clock.countTimers(), 0)
})

t.test('a pong that comes before any ping is ignored', async (t) => {
  const { keepAlive } = newKeepAlive(t, null)
  keepAlive.pongOnReceive('1')
  t.equal(keepAlive.latency, null)
})

t.test('once a peer has answered, the ping and its deadline take no memory', async (t) => {
  const clock = fakeClock(t)
  const wheel = new TimerWheel(500, 1)
  const peers = Array.from({ length: 1000 }, () => {
    const peer = { lastPing: '', keepAlive: undefined as KeepAlive | undefined }
    peer.keepAlive = new KeepAlive({
      _inbound: { bytesRead: 0 },
      _queue: { readAhead () {} },
      socket: { isPaused: false, ping: (payload) => { peer.lastPing = payload } },
      reportResumes () {},
      terminateWith () {}
    }, { interval: 1000, timeout: 500 }, wheel)
    peer.keepAlive.start()
    return peer
  })
  const before = await measureMemory()
  clock.tick(1000)
  for (const { keepAlive, lastPing } of peers) keepAlive?.pongOnReceive(lastPing)
  const after = await measureMemory()
  t.ok(peers.every(({ lastPing }) => lastPing !== ''))
  const cost = (after.used - before.used) / peers.length
  t.ok(cost < 300, `${cost} bytes a peer`)
})

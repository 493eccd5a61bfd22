import t from 'tap'
import { FRAMES_IN_A_READ, MESSAGE_COST, READ_SIZE, receiveLimits } from '../../lib/receive/receive-limits.js'

t.test('the limits of a connection', async (t) => {
  const mark = { messages: 64, bytes: 1000 }
  t.same(receiveLimits(mark, 500), {
    highWater: mark,
    probeHighWater: { messages: 64 + 10_923, bytes: 1000 + 65_536 + 500 },
    hardCap: { messages: 64 + 2 * 10_923, bytes: 1000 + 2 * (65_536 + 500) + FRAMES_IN_A_READ * MESSAGE_COST }
  })
})

t.test('one read cannot hold more frames than are counted for it', async (t) => {
  const shortestFrame = 6 // two bytes of header and a mask
  t.ok(FRAMES_IN_A_READ * shortestFrame >= READ_SIZE)
  t.ok((FRAMES_IN_A_READ - 1) * shortestFrame < READ_SIZE)
})

t.test('each limit admits more than the one before, whatever the settings are', async (t) => {
  for (const messages of [1, 64, Infinity]) {
    for (const bytes of [1, 1024 * 1024, Infinity]) {
      for (const maxPayload of [0, 1024 * 1024, Infinity]) {
        const { highWater, probeHighWater, hardCap } = receiveLimits({ messages, bytes }, maxPayload)
        t.ok(probeHighWater.messages >= highWater.messages + FRAMES_IN_A_READ)
        t.ok(probeHighWater.bytes >= highWater.bytes + READ_SIZE + maxPayload)
        t.ok(hardCap.messages >= probeHighWater.messages + FRAMES_IN_A_READ)
        t.ok(hardCap.bytes >= probeHighWater.bytes + READ_SIZE + maxPayload)
      }
    }
  }
})

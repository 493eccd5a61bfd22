import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import t from 'tap'
import { measureMemory } from '../fixtures/memory.js'
import { shareTexts } from '../../lib/upgrade/shared-texts.js'

/** A request whose texts are new strings, as Node.js makes them. */
function requestWith (...rawHeaders: readonly string[]): IncomingMessage {
  const raw = new IncomingMessage(new Socket())
  raw.rawHeaders = rawHeaders.map((text) => text.split('').join(''))
  return raw
}

/** How many bytes the headers of each of many requests keep. */
async function costOf (...headers: readonly string[]): Promise<number> {
  const count = 2000
  const before = await measureMemory()
  const kept = Array.from({ length: count }, () => {
    const raw = requestWith(...headers)
    shareTexts(raw)
    return raw.rawHeaders
  })
  const after = await measureMemory()
  return (after.used - before.used) / kept.length
}

t.test('the headers stay as they were', async (t) => {
  for (let i = 0; i < 3; i++) {
    const lines = ['Host', 'a', 'host', 'a', 'HOST', 'b', 'Cookie', 'c', '__proto__', 'd', 'Origin', '', '', 'e', 'X', 'f'.repeat(500), 'g'.repeat(500), 'h']
    const raw = requestWith(...lines)
    shareTexts(raw)
    t.same(raw.rawHeaders, lines)
  }
})

t.test('a message without a pair of texts for each header is left alone', async (t) => {
  const raw = requestWith('Host', 'a', 'Host')
  shareTexts(raw)
  t.same(raw.rawHeaders, ['Host', 'a', 'Host'])
})

t.test('requests share the names of their headers, and values that are the same for many', async (t) => {
  const cost = await costOf('User-Agent', 'u'.repeat(200), 'X-Long-'.padEnd(200, 'x'), '1')
  t.ok(cost < 250, `${cost} bytes a request`)
})

t.test('a value that may be a secret is not kept for others', async (t) => {
  const cost = await costOf('Authorization', 'a'.repeat(200))
  t.ok(cost > 200, `${cost} bytes a request`)
})

t.test('texts that clients make up are not kept for ever', async (t) => {
  const before = await measureMemory()
  for (let i = 0; i < 20_000; i++) shareTexts(requestWith(`${i}`.padEnd(200), '', 'Origin', `${i}`.padEnd(200)))
  const after = await measureMemory()
  const grown = after.used - before.used
  t.ok(grown < 1024 * 1024, `${grown} bytes`)
})

t.test('a long text is not kept for others', async (t) => {
  const cost = await costOf('Origin', 'o'.repeat(300))
  t.ok(cost > 300, `${cost} bytes a request`)
})

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'
import type { Test } from 'tap'
import { buildServer, type ExampleOptions } from '../../../example/app.js'
import { listen } from '../../fixtures/app.js'
import { findPython, needs } from '../../fixtures/processes/programs.js'

const python = findPython()
const script = new URL('../../fixtures/processes/client.py', import.meta.url).pathname

t.test('a Python client', needs('a Python with the websockets package', python), async (t) => {
  t.test('is greeted by the echo until it leaves', async (t) => {
    t.same(await converse(t, '/connect', ['>Good morning', '<', '>Good evening', '<', 'close']), [
      { received: 'Hello!' },
      { received: 'Hello!' },
      { closed: 1000, reason: '' }
    ])
  })

  t.test('is asked again in the dialogue until its answers will do', async (t) => {
    const steps = ['<', '>', '<', '<', '>Ada', '<', '>12abc', '<', '<', '>1.5', '<', '<', '> +36 ', '<']
    t.same(await converse(t, '/dialogue', steps), [
      { received: 'What is your name?' },
      { received: 'Please, insert your name!' },
      { received: 'What is your name?' },
      { received: 'And your age?' },
      { received: 'Please, insert an valid number' },
      { received: 'And your age?' },
      { received: 'Please, insert an valid number' },
      { received: 'And your age?' },
      { received: "You're Ada, and you are 36 old." },
      { closed: 1000, reason: '' }
    ])
  })

  t.test('may leave the dialogue before its end', async (t) => {
    t.same(await converse(t, '/dialogue', ['<', '>Ada', 'close']).then((events) => events.at(-1)), { closed: 1000, reason: '' })
  })

  t.test('is pinged, and what it sends is echoed, its answer to the ping is not', async (t) => {
    const steps = ['<', '>%ping%', '>one', '<', '>%ping%', '>zwei – 二', '<', 'close']
    t.same(await converse(t, '/ping', steps, { pingInterval: 60_000 }), [
      { received: '%ping%' },
      { received: 'one' },
      { received: 'zwei – 二' },
      { closed: 1000, reason: '' }
    ])
  })

  t.test('is pinged again at every interval', async (t) => {
    t.same(await converse(t, '/ping', ['<', '<', '<', 'close'], { pingInterval: 20 }).then((events) => events.slice(0, 3)), [
      { received: '%ping%' },
      { received: '%ping%' },
      { received: '%ping%' }
    ])
  })
})

/** What the client reports of its conversation. */
async function converse (t: Test, path: string, steps: string[], options: ExampleOptions = {}): Promise<unknown[]> {
  if (python === undefined) throw new Error('no Python with the websockets package was found')
  const app = await buildServer(options)
  t.teardown(() => app.close())
  const url = `ws://127.0.0.1:${await listen(app)}${path}`
  const { stdout } = await promisify(execFile)(python, [script, url, ...steps], { timeout: 60_000 })
  return stdout.trim().split('\n').map((line) => JSON.parse(line))
}

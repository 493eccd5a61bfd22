import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'

const PROGRAM = fileURLToPath(new URL('../../fixtures/processes/upgrades.ts', import.meta.url))

/** What a process in which these upgrades happen writes to stderr. */
async function stderrOf (paths: string[], env: NodeJS.ProcessEnv): Promise<string[]> {
  const { stderr } = await promisify(execFile)(process.execPath, ['--import', 'tsx', PROGRAM, ...paths],
    { env: { ...process.env, NODE_DEBUG: undefined, ...env }, timeout: 60_000 })
  return stderr.split('\n').filter((line) => line !== '')
}

const LINES: Record<string, string[]> = {
  '/accepted': [
    'GET "/accepted": upgrade to "websocket" arrived',
    'request id of /accepted: routed to "/accepted"',
    'request id of /accepted: accepted as connection "Ada"',
    'connection "Ada": closed with 4000, cause peer'
  ],
  '/anonymous': [
    'GET "/anonymous": upgrade to "websocket" arrived',
    'request id of /anonymous: routed to "/anonymous"',
    'request id of /anonymous: accepted as connection "id of /anonymous"',
    'connection "id of /anonymous": closed with 1006, cause terminated'
  ],
  '/refused': [
    'GET "/refused": upgrade to "websocket" arrived',
    'request id of /refused: routed to "/refused"',
    'request id of /refused: refused with FST_WSA_SUBPROTOCOL_NOT_OFFERED',
    'request id of /refused: answered with 400'
  ],
  '/answered': [
    'GET "/answered": upgrade to "websocket" arrived',
    'request id of /answered: routed to "/answered"',
    'request id of /answered: answered with 200'
  ],
  '/plain': [
    'GET "/plain": upgrade to "h2c" arrived',
    'GET "/plain": served as plain HTTP'
  ],
  '/uncertain': [
    'GET "/uncertain": upgrade to "h2c" arrived',
    'GET "/uncertain": ends with 400'
  ],
  '/taken': [
    'GET "/taken": upgrade to "websocket" arrived',
    'GET "/taken": taken by another upgrade listener'
  ],
  '/left': [
    'GET "/left": upgrade to "websocket" arrived',
    'request id of /left: routed to "no route"',
    'request id of /left: left to the other upgrade listeners'
  ],
  '/late': [
    'GET "/late": upgrade to "websocket" arrived',
    'request id of /late: routed to "/late"',
    'request id of /late: refused with FST_WSA_UPGRADE_TIMEOUT',
    'GET "/late": timed out'
  ],
  '/gone': [
    'GET "/gone": upgrade to "websocket" arrived',
    'request id of /gone: routed to "/gone"',
    'request id of /gone: the client is gone'
  ]
}

t.test('NODE_DEBUG shows the way of each upgrade and the end of each connection', async (t) => {
  const lines = await stderrOf(Object.keys(LINES), { NODE_DEBUG: 'fastify-websocket-async' })
  t.same(lines.map((line) => line.replace(/^FASTIFY-WEBSOCKET-ASYNC \d+: /, '')), Object.values(LINES).flat())
})

t.test('without NODE_DEBUG nothing is written', async (t) => {
  t.same(await stderrOf(['/accepted', '/refused'], {}), [])
})

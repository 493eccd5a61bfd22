import { readFile } from 'node:fs/promises'
import t from 'tap'
import { errors } from '../../lib/base/errors.js'

t.test('the README lists every error with its status, and no other', async (t) => {
  const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8')
  const rows = [...readme.matchAll(/^\| `(FST_WSA_\w+)` \| (\d+) \|/gm)].map(([, code, status]) => [code, Number(status)])
  t.same(rows, Object.entries(errors).map(([code, WebSocketError]) => [code, new WebSocketError().statusCode]))
})

t.test('every error has its code and an understandable message', async (t) => {
  for (const [code, WebSocketError] of Object.entries(errors)) {
    const error = new WebSocketError('a', 'b', 'c')
    t.equal(error.code, code)
    t.match(error.message, /^(Cannot|Invalid) [^%]*[^.%]$/)
  }
})

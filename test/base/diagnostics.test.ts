import t from 'tap'
import { diagnostics } from '../../lib/base/diagnostics.js'

t.test('the names of the channels are public', async (t) => {
  t.same(Object.fromEntries(Object.entries(diagnostics).map(([key, { name }]) => [key, name])), {
    open: 'fastify-websocket-async:open',
    close: 'fastify-websocket-async:close',
    refused: 'fastify-websocket-async:refused',
    dropped: 'fastify-websocket-async:dropped'
  })
})

import t from 'tap'
import { buildApp } from '../../fixtures/app.js'

t.test('subprotocol: null accepts with none of those that the client offered', async (t) => {
  const app = await buildApp(t)
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync({ subprotocol: null })
    await ws.sendAsync(`agreed: '${ws.subprotocol}'`)
  })
  // The client of ws fails where it offered and the server chose none, so this one is asked what the server answered
  await t.rejects(app.injectWebSocketAsync('/', { subprotocols: ['a', 'b'] }), { message: 'Server sent no subprotocol' })
  const client = await app.injectWebSocketAsync('/')
  t.equal((await client.receiveMessageAsync())?.getString(), "agreed: ''")
})

t.test('a subprotocol that is neither a name nor null is refused, and the error names the remedy', async (t) => {
  const app = await buildApp(t)
  const bad = { '/empty': '', '/false': false }
  for (const [path, subprotocol] of Object.entries(bad)) {
    app.get(path, async (request) => { await request.getWebSocketAsync({ subprotocol: subprotocol as string }) })
  }
  for (const path of Object.keys(bad)) {
    await t.rejects(app.injectWebSocketAsync(path, { subprotocols: 'a' }), { message: /FST_WSA_BAD_OPTION.*null for none/ }, path)
  }
})

t.test('identifier: null means none', async (t) => {
  const app = await buildApp(t)
  app.get('/', async (request) => {
    const ws = await request.getWebSocketAsync({ identifier: null })
    t.equal(ws.identifier, null)
  })
  await (await app.injectWebSocketAsync('/')).closed
})

t.test('an upgrade chooses its subprotocol also after a library has set handleProtocols on the server', async (t) => {
  const app = await buildApp(t)
  app.get('/chosen', async (request) => { await request.getWebSocketAsync({ subprotocol: 'b' }) })
  app.get('/declined', async (request) => { await request.getWebSocketAsync({ subprotocol: null }) })
  app.get('/open', async (request) => { await request.getWebSocketAsync() })
  await app.ready()
  const subprotocols = ['a', 'b', 'c']
  t.equal((await app.injectWebSocketAsync('/open', { subprotocols })).subprotocol, 'a')

  app.websocketServer.options.handleProtocols = () => 'c'
  t.equal((await app.injectWebSocketAsync('/chosen', { subprotocols })).subprotocol, 'b')
  t.equal((await app.injectWebSocketAsync('/open', { subprotocols })).subprotocol, 'c', 'where the upgrade does not choose, the library does')
  await t.rejects(app.injectWebSocketAsync('/declined', { subprotocols }), { message: 'Server sent no subprotocol' })
})

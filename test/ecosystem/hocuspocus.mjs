// hocuspocus 2 listens to the socket of ws by itself: authorise by awaiting, then hand over
import assert from 'node:assert/strict'
import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider'
import { Hocuspocus } from '@hocuspocus/server'
import { WebSocket } from 'ws'
import * as Y from 'yjs'
import { QUIET, until, withApp } from './app.mjs'

const EDITS = 300
const server = new Hocuspocus({ quiet: true })

function declare (app) {
  app.get('/collaboration', async (request) => {
    const ws = await request.getWebSocketAsync()
    server.handleConnection(ws.socket, request.raw, {})
    await ws.closed
  })
}

/** As many updates as edits, each in a message of its own. */
function edit (doc, text) {
  for (let i = 0; i < EDITS; i++) doc.getArray('edits').push([`${text} ${i}`])
}

await withApp(declare, async (url) => {
  const document = new Y.Doc()
  const websocketProvider = new HocuspocusProviderWebsocket({ url: `${url}/collaboration`, WebSocketPolyfill: WebSocket })
  const provider = new HocuspocusProvider({ websocketProvider, name: 'notes', document })
  await until(provider, 'synced', () => provider.isSynced)
  const served = server.documents.get('notes')

  edit(document, 'by the client')
  await until(served, 'update', () => served.getArray('edits').length === EDITS)
  edit(served, 'by the server')
  await until(document, 'update', () => document.getArray('edits').length === 2 * EDITS)
  assert.deepEqual(document.getArray('edits').toArray(), served.getArray('edits').toArray())
  provider.destroy()
  websocketProvider.destroy()
}, QUIET)
process.exit() // it keeps timers

// y-websocket 2 listens to the socket of ws by itself: authorise by awaiting, then hand over
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { WebSocket } from 'ws'
import { QUIET, until, withApp } from './app.mjs'

// Its server is CommonJS, and Yjs must be loaded once
const require = createRequire(import.meta.url)
const { WebsocketProvider } = require('y-websocket')
const { docs, setupWSConnection } = require('y-websocket/bin/utils')
const { Doc } = require('yjs')

const EDITS = 300

function declare (app) {
  app.get('/docs/:name', async (request) => {
    const ws = await request.getWebSocketAsync()
    setupWSConnection(ws.socket, request.raw, { docName: request.params.name })
    await ws.closed
  })
}

/** As many updates as edits, each in a message of its own. */
function edit (doc, text) {
  for (let i = 0; i < EDITS; i++) doc.getArray('edits').push([`${text} ${i}`])
}

await withApp(declare, async (url) => {
  const doc = new Doc()
  const provider = new WebsocketProvider(`${url}/docs`, 'notes', doc, { WebSocketPolyfill: WebSocket, disableBc: true })
  await until(provider, 'sync', () => provider.synced)
  const served = docs.get('notes')

  edit(doc, 'by the client')
  await until(served, 'update', () => served.getArray('edits').length === EDITS)
  edit(served, 'by the server')
  await until(doc, 'update', () => doc.getArray('edits').length === 2 * EDITS)
  assert.deepEqual(doc.getArray('edits').toArray(), served.getArray('edits').toArray())
  provider.destroy()
}, QUIET)
process.exit() // awareness keeps a timer for each document

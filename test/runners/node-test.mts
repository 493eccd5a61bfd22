import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildServer } from '../../example/app.js'

test('the dialogue asks again until it is answered', async (t) => {
  const app = await buildServer()
  t.after(() => app.close())
  const client = await app.injectWebSocketAsync('/dialogue')
  const hear = async () => (await client.receiveMessageAsync())?.getString()

  assert.equal(await hear(), 'What is your name?')
  await client.sendAsync('Ada')
  assert.equal(await hear(), 'And your age?')
  await client.sendAsync('old')
  assert.equal(await hear(), 'Please, insert an valid number')
  assert.equal(await hear(), 'And your age?')
  await client.sendAsync('36')
  assert.equal(await hear(), "You're Ada, and you are 36 old.")
  assert.equal((await client.closed).code, 1000)
})

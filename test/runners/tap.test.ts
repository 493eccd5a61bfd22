import t from 'tap'
import { buildServer } from '../../example/app.js'

t.test('the dialogue asks again until it is answered', async (t) => {
  const app = await buildServer()
  t.teardown(() => app.close())
  const client = await app.injectWebSocketAsync('/dialogue')
  const hear = async () => (await client.receiveMessageAsync())?.getString()

  t.equal(await hear(), 'What is your name?')
  await client.sendAsync('Ada')
  t.equal(await hear(), 'And your age?')
  await client.sendAsync('old')
  t.equal(await hear(), 'Please, insert an valid number')
  t.equal(await hear(), 'And your age?')
  await client.sendAsync('36')
  t.equal(await hear(), "You're Ada, and you are 36 old.")
  t.match(await client.closed, { code: 1000, wasClean: true })
})

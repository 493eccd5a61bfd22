import { expect, onTestFinished, test } from 'vitest'
import { buildServer } from '../../example/app.js'

test('the dialogue asks again until it is answered', async () => {
  const app = await buildServer()
  onTestFinished(() => app.close())
  const client = await app.injectWebSocketAsync('/dialogue')
  const hear = async () => (await client.receiveMessageAsync())?.getString()

  expect(await hear()).toBe('What is your name?')
  await client.sendAsync('Ada')
  expect(await hear()).toBe('And your age?')
  await client.sendAsync('old')
  expect(await hear()).toBe('Please, insert an valid number')
  expect(await hear()).toBe('And your age?')
  await client.sendAsync('36')
  expect(await hear()).toBe("You're Ada, and you are 36 old.")
  expect(await client.closed).toMatchObject({ code: 1000, wasClean: true })
})

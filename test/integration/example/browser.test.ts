import t, { type Test } from 'tap'
import type { FastifyInstance } from 'fastify'
import { chromium, type Browser, type Page } from 'playwright-core'
import { buildServer, type ExampleOptions } from '../../../example/app.js'
import { listen } from '../../fixtures/app.js'
import { chromiumArgs, findChromium, needs } from '../../fixtures/processes/programs.js'

const executablePath = findChromium()

/** What no page may do: raise an error, write to the console, load from elsewhere. */
const problems: string[] = []

t.test('the example page in a browser', needs('chromium', executablePath), async (t) => {
  if (executablePath === undefined) throw new Error('no chromium was found')
  const browser = await chromium.launch({ executablePath, args: chromiumArgs })
  t.teardown(() => browser.close())

  t.test('is answered by the echo until the user disconnects', async (t) => {
    const { page } = await open(t, browser)
    t.equal(await page.locator('#choose-connect').isChecked(), true)
    await page.locator('#connect').click()
    await lines(page, 1)
    t.equal(await page.locator('#status').textContent(), 'connected')
    await say(page, 'Good morning')
    await lines(page, 3)
    await page.locator('#message').fill('Good evening')
    await page.locator('#send').click()
    await lines(page, 5)
    await page.locator('#disconnect').click()
    t.same(await lines(page, 6), [
      'connected',
      'You: Good morning',
      'Server: Hello!',
      'You: Good evening',
      'Server: Hello!',
      'closed with 1000'
    ])
    t.equal(await page.locator('#status').textContent(), 'not connected')
    t.equal(await page.locator('#message').isDisabled(), true)
  })

  t.test('is asked again in the dialogue until the answers are valid', async (t) => {
    const { page } = await open(t, browser)
    await page.locator('#choose-dialogue').check()
    await page.locator('#connect').click()
    await lines(page, 2)
    await say(page, '')
    await lines(page, 5)
    await say(page, 'Ada')
    await lines(page, 7)
    for (const [index, age] of ['', '12abc', '1.5', '2147483648'].entries()) {
      await say(page, age)
      await lines(page, 10 + 3 * index)
    }
    await say(page, ' 36 ')
    t.same(await lines(page, 22), [
      'connected',
      'Server: What is your name?',
      'You: (empty message)',
      'Server: Please, insert your name!',
      'Server: What is your name?',
      'You: Ada',
      'Server: And your age?',
      'You: (empty message)',
      'Server: Please, insert an valid number',
      'Server: And your age?',
      'You: 12abc',
      'Server: Please, insert an valid number',
      'Server: And your age?',
      'You: 1.5',
      'Server: Please, insert an valid number',
      'Server: And your age?',
      'You: 2147483648',
      'Server: Please, insert an valid number',
      'Server: And your age?',
      'You:  36 ',
      "Server: You're Ada, and you are 36 old.",
      'closed with 1000'
    ])
  })

  t.test('may leave the dialogue for another conversation, and come back to a new one', async (t) => {
    const { page } = await open(t, browser)
    await page.locator('#choose-dialogue').check()
    const opening = page.waitForEvent('websocket')
    await page.locator('#connect').click()
    const socket = await opening
    await lines(page, 2)
    await say(page, 'Ada')
    await lines(page, 4)
    const closing = socket.waitForEvent('close')
    await page.locator('#choose-ping').check()
    await closing
    t.same(await lines(page, 0), [])
    await page.locator('#choose-dialogue').check()
    await page.locator('#connect').click()
    t.same(await lines(page, 2), ['connected', 'Server: What is your name?'])
  })

  t.test('counts and answers pings, and shows each echo once', async (t) => {
    const pingInterval = 50
    const { page, app } = await open(t, browser, { pingInterval })
    const received: string[] = []
    app.websocketServer.on('connection', (socket) => socket.on('message', (data) => received.push(String(data))))
    await page.locator('#choose-ping').check()
    const start = performance.now()
    await page.locator('#connect').click()
    await page.locator('#ping-count', { hasText: /^([3-9]|\d\d+)$/ }).waitFor()
    await say(page, 'Are you there?')
    await lines(page, 3)
    await page.locator('#disconnect').click()
    t.same(await lines(page, 4), ['connected', 'You: Are you there?', 'Server: Are you there?', 'closed with 1000'])

    const elapsed = performance.now() - start
    const count = Number(await page.locator('#ping-count').textContent())
    t.equal(received.filter((text) => text === '%ping%').length, count, 'every ping was answered')
    // Were the answers echoed, each echo would be answered too, and so on without a pause
    t.ok(count <= elapsed / pingInterval + 2, `${count} pings in ${Math.round(elapsed)} ms`)
  })

  t.test('shows the code and the reason when the server shuts down', async (t) => {
    const { page, app } = await open(t, browser)
    await page.locator('#connect').click()
    await lines(page, 1)
    await app.close()
    t.same(await lines(page, 2), ['connected', 'closed with 1001: server shutting down'])
  })

  t.test('can be used with the keyboard alone', async (t) => {
    const { page } = await open(t, browser)
    await page.keyboard.press('Tab')
    await page.keyboard.press('ArrowDown')
    t.equal(await page.locator('#choose-dialogue').isChecked(), true)
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    await lines(page, 2)
    for (const [index, answer] of ['Ada', '36'].entries()) {
      await page.keyboard.type(answer)
      await page.keyboard.press('Enter')
      await lines(page, 4 + 2 * index)
    }
    t.equal((await lines(page, 7)).at(-1), 'closed with 1000')
    t.equal(await page.locator('#connect:focus').count(), 1)
  })

  t.test('logs no error, and loads nothing from elsewhere', async (t) => {
    t.same(problems, [])
  })
})

/** The page of an example of its own. */
async function open (t: Test, browser: Browser, options: ExampleOptions = {}): Promise<{ page: Page, app: FastifyInstance }> {
  const app = await buildServer(options)
  t.teardown(() => app.close())
  const url = `http://127.0.0.1:${await listen(app)}/`
  const page = await browser.newPage()
  page.on('pageerror', (error) => problems.push(String(error)))
  page.on('console', (message) => problems.push(message.text()))
  page.on('request', (request) => { if (!/^(data:|http:\/\/127\.0\.0\.1:)/.test(request.url())) problems.push(request.url()) })
  t.teardown(() => page.close())
  await page.goto(url)
  return { page, app }
}

async function say (page: Page, text: string): Promise<void> {
  await page.locator('#message').fill(text)
  await page.locator('#message').press('Enter')
}

/** The transcript, once it has so many lines. */
async function lines (page: Page, count: number): Promise<string[]> {
  const all = page.locator('#transcript li')
  if (count > 0) await all.nth(count - 1).waitFor()
  return all.allTextContents()
}

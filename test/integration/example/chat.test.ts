import { kill } from 'node:process'
import { chromium, type Browser, type Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { startCluster } from '../../../example/chat/cluster.js'
import { buildServer } from '../../../example/chat/server.js'
import { chromiumArgs, findChromium, findFreePort, findNginx, findRedis, needs } from '../../fixtures/processes/programs.js'

const executablePath = findChromium()
const nginx = findNginx()
const redis = findRedis()

/** What no page may do: raise an error, load from elsewhere. */
const problems: string[] = []

async function launch (t: Test): Promise<Browser> {
  if (executablePath === undefined) throw new Error('no chromium was found')
  const browser = await chromium.launch({ executablePath, args: chromiumArgs })
  t.teardown(() => browser.close())
  return browser
}

async function enter (browser: Browser, origin: string, name: string, room: string): Promise<Page> {
  const page = await browser.newPage()
  page.on('pageerror', (error) => problems.push(error.message))
  page.on('request', (request) => {
    if (new URL(request.url()).host !== new URL(origin).host) problems.push(request.url())
  })
  await page.goto(origin)
  await page.locator('#name').fill(name)
  await page.locator('#room').fill(room)
  await page.locator('#enter button').click()
  await page.locator('[data-state=inside]').waitFor()
  return page
}

async function say (page: Page, text: string): Promise<void> {
  await page.locator('#message').fill(text)
  await page.locator('#send').click()
}

const hears = (page: Page, text: string) => page.locator('#messages .text', { hasText: new RegExp(`^${text}$`) }).waitFor()
const texts = (page: Page) => page.locator('#messages .text').allTextContents()
const processOf = async (page: Page) => Number(await page.locator('#chat').getAttribute('data-process'))

async function sees (page: Page, names: string): Promise<void> {
  await page.waitForFunction(`Array.from(document.querySelectorAll('#names li'), (line) => line.textContent).join() === '${names}'`)
}

t.test('browsers in two rooms of one process see what is said in their own room', needs('chromium', executablePath), async (t) => {
  const browser = await launch(t)
  const app = await buildServer()
  t.teardown(() => app.close())
  const origin = await app.listen({ port: 0, host: '127.0.0.1' })
  const [ada, bob] = [await enter(browser, origin, 'Ada', 'garden'), await enter(browser, origin, 'Bob', 'garden')]
  const eve = await enter(browser, origin, 'Eve', 'library')
  await Promise.all([sees(ada, 'Ada,Bob'), sees(bob, 'Ada,Bob'), sees(eve, 'Eve')])
  await say(ada, 'Good <b>morning</b>')
  await hears(bob, 'Good <b>morning</b>')
  await say(bob, 'Good evening')
  await hears(ada, 'Good evening')
  t.same(await texts(eve), [])
  await bob.close()
  await sees(ada, 'Ada')
  const late = await enter(browser, origin, 'Cy', 'garden')
  await hears(late, 'Good evening')
  t.same(await texts(late), ['Good <b>morning</b>', 'Good evening'], 'who comes later hears what was said last')
  t.same(problems, [])
})

t.test('two browsers in two rooms on two processes behind nginx', { ...needs('chromium', executablePath && nginx && redis), timeout: 110_000 }, async (t) => {
  const [one, two] = [await launch(t), await launch(t)]
  const cluster = await startCluster({ port: await findFreePort(), stdio: 'ignore' })
  t.teardown(() => cluster.close())
  const rooms: { room: string, pages: readonly [Page, Page] }[] = []
  for (const room of ['garden', 'library']) {
    const pages = [await enter(one, cluster.origin, 'Ada', room), await enter(two, cluster.origin, 'Bob', room)] as const
    rooms.push({ room, pages })
    t.not(await processOf(pages[0]), await processOf(pages[1]))
  }

  const talk = async (what: string) => {
    for (const { room, pages: [ada, bob] } of rooms) {
      await Promise.all([sees(ada, 'Ada,Bob'), sees(bob, 'Ada,Bob')])
      await say(ada, `${what} from Ada, ${room}`)
      await hears(bob, `${what} from Ada, ${room}`)
      await say(bob, `${what} from Bob, ${room}`)
      await hears(ada, `${what} from Bob, ${room}`)
    }
  }
  await talk('hello')

  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    await t.test(`a process that ${signal} ends`, async (t) => {
      const ended = await processOf(rooms[0]!.pages[0])
      t.ok(cluster.pids().includes(ended))
      const moving: Page[] = []
      for (const { pages } of rooms) {
        for (const page of pages) if (await processOf(page) === ended) moving.push(page)
      }
      t.ok(moving.length >= 1)
      kill(ended, signal)
      // They reconnect by themselves, to whichever process nginx finds
      await Promise.all(moving.map((page) => page.locator(`[data-state=inside]:not([data-process="${ended}"])`).waitFor()))
      await talk(`again after ${signal}`)
    })
  }

  for (const { room, pages } of rooms) {
    for (const page of pages) {
      t.same(await texts(page), ['hello', 'again after SIGTERM', 'again after SIGKILL'].flatMap((what) => ['Ada', 'Bob'].map((name) => `${what} from ${name}, ${room}`)))
    }
  }
  t.same(problems, [])
})

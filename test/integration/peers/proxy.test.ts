import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { chromium, type Browser } from 'playwright-core'
import t from 'tap'
import type { Test } from 'tap'
import { buildApp, listen, type Options } from '../../fixtures/app.js'
import { newCertificate } from '../../fixtures/processes/certificate.js'
import { captureLog, type LogLine } from '../../fixtures/log.js'
import { chromiumArgs, findChromium, findFreePort, findNginx, findOpenssl, needs } from '../../fixtures/processes/programs.js'

const executablePath = findChromium()
const nginx = findNginx()
const openssl = findOpenssl()

/** What a page saw of a connection that it held for a while. */
interface Visit {
  wasOpen: boolean
  /** Of the close event, or `null` where the connection was still open and echoed. */
  code: number | null
  /** Since the connection was opened, in ms. */
  duration: number
  messages: string[]
}

t.test('between nginx and a browser', { ...needs('chromium', executablePath), ...needs('nginx', nginx) }, async (t) => {
  if (executablePath === undefined) throw new Error('no chromium was found')
  const browser = await chromium.launch({ executablePath, args: [...chromiumArgs, '--ignore-certificate-errors'] })
  t.teardown(() => browser.close())

  t.test('nginx cuts an idle connection after its proxy_read_timeout, unless something pings', async (t) => {
    const cases = {
      silence: { keepAlive: false },
      keepAlive: { keepAlive: { interval: 1_000, timeout: 1_000 } },
      pingPolicy: { keepAlive: false }
    } as const
    const visits = await Promise.all(Object.entries(cases).map(async ([name, options]) => {
      const app = await buildEcho(t, { ...options, origin: '*' })
      const proxy = await startNginx(t, await listen(app))
      return visit(t, browser, proxy.origin, `/${name}`, 5_000)
    })) as [Visit, Visit, Visit]
    const [silence, keepAlive, pingPolicy] = visits

    t.match(silence, { wasOpen: true, code: 1006, messages: [] })
    t.ok(silence.duration > 1_500 && silence.duration < 4_500, `cut after ${Math.round(silence.duration)} ms`)

    t.match(keepAlive, { wasOpen: true, code: null })
    t.same(keepAlive.messages, ['still there?'], 'protocol pings are no messages')
    t.ok(keepAlive.duration >= 5_000)

    t.match(pingPolicy, { wasOpen: true, code: null })
    const pings = pingPolicy.messages.filter((text) => text === '%ping%').length
    t.ok(pings >= 4 && pings <= 7, `${pings} pings`)
    t.ok(pingPolicy.duration >= 5_000)
  })

  t.test("behind nginx's default Host the page's origin is another one: refused, and the log tells what to do", async (t) => {
    const { lines, logger } = captureLog()
    const app = await buildEcho(t, { app: { logger } })
    const port = await listen(app)
    const proxy = await startNginx(t, port)
    await assertRefused(t, browser, app, lines, proxy.origin, `127.0.0.1:${port}`)
  })

  t.test('X-Forwarded-Host counts where the app trusts the proxy', async (t) => {
    const app = await buildEcho(t, { app: { trustProxy: true } })
    const proxy = await startNginx(t, await listen(app), { location: 'proxy_set_header X-Forwarded-Host $http_host;' })
    t.match(await visit(t, browser, proxy.origin), { wasOpen: true, code: null, messages: ['still there?'] })
  })

  t.test('X-Forwarded-Host does not count where it does not', async (t) => {
    const { lines, logger } = captureLog()
    const app = await buildEcho(t, { app: { logger } })
    const port = await listen(app)
    const proxy = await startNginx(t, port, { location: 'proxy_set_header X-Forwarded-Host $http_host;' })
    await assertRefused(t, browser, app, lines, proxy.origin, `127.0.0.1:${port}`)
  })

  t.test('where nginx ends TLS and hands Host on, the scheme does not matter', needs('openssl', openssl), async (t) => {
    const app = await buildEcho(t)
    const proxy = await startNginx(t, await listen(app), { isTls: true, location: 'proxy_set_header Host $http_host;' })
    t.match(proxy.origin, /^https:/)
    t.match(await visit(t, browser, proxy.origin), { wasOpen: true, code: null, messages: ['still there?'] })
  })

  t.test('where nginx ends TLS, a page of another host is refused', needs('openssl', openssl), async (t) => {
    const { lines, logger } = captureLog()
    const app = await buildEcho(t, { app: { logger } })
    const port = await listen(app)
    const proxy = await startNginx(t, port, { isTls: true })
    await assertRefused(t, browser, app, lines, proxy.origin, `127.0.0.1:${port}`)
  })
})

/** An app with a page, and an echo that pings under `/pingPolicy`. */
async function buildEcho (t: Test, options: Options = {}): Promise<FastifyInstance> {
  const app = await buildApp(t, options)
  app.get('/', async (_request, reply) => reply.type('text/html').send('<!doctype html><title>A page</title>'))
  app.get('/:name', async (request) => {
    const ws = await request.getWebSocketAsync()
    if (request.url === '/pingPolicy') ws.pingPolicy.start({ interval: 1_000 })
    for await (const message of ws) await ws.sendAsync(message.getString())
  })
  return app
}

/** A page of the origin opens a connection there, is silent for some ms, and then wants an echo. */
async function visit (t: Test, browser: Browser, origin: string, path = '/echo', silence = 0): Promise<Visit> {
  const page = await browser.newPage()
  t.teardown(() => page.close())
  await page.goto(`${origin}/`)
  return page.evaluate(([url, silence]) => new Promise<Visit>((resolve) => {
    const socket = new WebSocket(url)
    const messages: string[] = []
    let openedAt: number | undefined
    const end = (code: number | null) => {
      const duration = openedAt === undefined ? 0 : performance.now() - openedAt
      resolve({ wasOpen: openedAt !== undefined, code, duration, messages })
    }
    socket.onopen = () => {
      openedAt = performance.now()
      setTimeout(() => socket.send('still there?'), silence) // nginx measures this silence
    }
    socket.onmessage = ({ data }) => {
      messages.push(data)
      if (data === 'still there?') end(null)
    }
    socket.onclose = ({ code }) => end(code)
  }), [`${origin.replace('http', 'ws')}${path}`, silence] as const)
}

async function assertRefused (t: Test, browser: Browser, app: FastifyInstance, lines: LogLine[], origin: string, host: string): Promise<void> {
  t.match(await visit(t, browser, origin), { wasOpen: false, code: 1006, messages: [] })
  t.equal(app.websocketServer.clients.size, 0)
  const [refusal] = lines.filter(({ err }) => (err as { code?: string } | undefined)?.code === 'FST_WSA_ORIGIN_REFUSED')
  for (const value of [`"${origin}"`, `"${host}"`, 'trustProxy']) t.ok(refusal?.msg.includes(value), `${refusal?.msg} has ${value}`)
  t.match(lines.filter(({ reqId, msg }) => reqId === refusal?.reqId && msg === 'request completed'), [{ res: { statusCode: 403 } }])
}

interface NginxOptions {
  isTls?: boolean
  /** Directives beside those that hand an upgrade on. */
  location?: string
}

/** An nginx before an app, which the test ends. Another program may take the free port before nginx does: then it gets another one. */
async function startNginx (t: Test, appPort: number, options: NginxOptions = {}): Promise<{ origin: string }> {
  for (let tries = 1; ; tries++) {
    try {
      return await startNginxOnce(t, appPort, options)
    } catch (error) {
      if (tries === 5 || !(error as Error).message.includes('Address already in use')) throw error
    }
  }
}

/** Its files are its own. */
async function startNginxOnce (t: Test, appPort: number, { isTls = false, location = '' }: NginxOptions): Promise<{ origin: string }> {
  if (nginx === undefined) throw new Error('no nginx was found')
  const prefix = await mkdtemp(join(tmpdir(), 'nginx-'))
  t.teardown(() => rm(prefix, { recursive: true }))
  const port = await findFreePort()
  if (isTls) await writeCertificate(prefix)
  await writeFile(join(prefix, 'nginx.conf'), `
    daemon off;
    master_process off;
    pid nginx.pid;
    error_log stderr notice;
    events {}
    http {
      access_log off;
      ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${name};`).join(' ')}
      map $http_upgrade $connection_upgrade { default upgrade; '' close; }
      server {
        listen 127.0.0.1:${port}${isTls ? ' ssl' : ''};
        ${isTls ? 'ssl_certificate certificate.pem; ssl_certificate_key key.pem;' : ''}
        location / {
          proxy_pass http://127.0.0.1:${appPort};
          proxy_http_version 1.1;
          proxy_set_header Upgrade $http_upgrade;
          proxy_set_header Connection $connection_upgrade;
          proxy_read_timeout 2s;
          ${location}
        }
      }
    }`)
  const child = spawn(nginx, ['-p', prefix, '-c', 'nginx.conf', '-e', 'stderr'], { stdio: ['ignore', 'ignore', 'pipe'] })
  const exited = once(child, 'exit')
  t.teardown(() => {
    child.kill()
    return exited
  })
  let said = ''
  await Promise.race([
    exited.then(() => { throw new Error(`nginx ended:\n${said}`) }),
    new Promise<void>((resolve) => {
      child.stderr.on('data', (chunk) => {
        said += chunk
        if (said.includes('event method')) resolve() // it listens by then
      })
    })
  ])
  return { origin: `${isTls ? 'https' : 'http'}://127.0.0.1:${port}` }
}

async function writeCertificate (directory: string): Promise<void> {
  if (openssl === undefined) throw new Error('no openssl was found')
  const { key, cert } = newCertificate(openssl)
  await Promise.all([writeFile(join(directory, 'key.pem'), key), writeFile(join(directory, 'certificate.pem'), cert)])
}

// Runs the tests of the installed `@fastify/websocket` against this package, built: `npm run build && node test/drop-in/run.mjs`.
// What cannot pass is listed in expected.json, `{ file: { test: why } }`; anything else that fails is a failure, and so is
// a listed test that passes or is not there.
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { run } from 'node:test'
import { fileURLToPath } from 'node:url'

const FILE_TIMEOUT = 60_000 // in ms
const THEIR_PORT = 3000 // one of their tests binds it
const WAIT_FOR_PORT = 20_000

const require = createRequire(import.meta.url)
const here = dirname(fileURLToPath(import.meta.url))
const theirs = join(dirname(require.resolve('@fastify/websocket/package.json')), 'test')
const files = ['base', 'hooks', 'inject', 'router'].map((name) => join(theirs, `${name}.test.js`))
const expected = JSON.parse(readFileSync(join(here, 'expected.json'), 'utf8'))

const missing = [join(here, '../../dist/index.js'), ...files].filter((path) => !existsSync(path))
if (missing.length > 0) end(1, `missing: ${missing.join(', ')}; npm ci && npm run build first`)
if (!await isFree(THEIR_PORT)) end(1, `port ${THEIR_PORT} is in use, and a test of @fastify/websocket needs it`)

process.env.DROP_IN_FILE_TIMEOUT = String(FILE_TIMEOUT) // past it the process ends itself, with 124
process.env.NODE_OPTIONS = `${process.env.NODE_OPTIONS ?? ''} --require ${JSON.stringify(join(here, 'alias.cjs'))}`.trim()

let passed = 0
let listed = 0
let failed = 0
for (const file of files) await runFile(file, { ...expected[basename(file)] })

console.log(`${passed} passed, ${listed} listed${failed > 0 ? `, ${failed} failed` : ''}`)
process.exit(failed > 0 ? 1 : 0)

async function runFile (file, reasons) {
  const count = readFileSync(file, 'utf8').match(/^test\(/gm).length
  let ended = 0
  let hasFailed = false
  for await (const { type, data: { name, details: { error } = {}, skip } } of run({ files: [file], timeout: 2 * FILE_TIMEOUT })) {
    if (type !== 'test:pass' && type !== 'test:fail') continue
    if (file.endsWith(name)) { // the file as a whole: its process exits with 1 where a test has failed, which is no news
      if (error !== undefined && !(hasFailed && error.exitCode === 1 && error.signal === null)) report(basename(file), error)
      continue
    }
    ended++
    hasFailed ||= type === 'test:fail'
    const reason = reasons[name]
    delete reasons[name]
    const id = `${basename(file)}: ${name}`
    if (skip !== undefined) {
      console.log(`skipped - ${id}`)
    } else if (type === 'test:fail' && reason === undefined) {
      report(id, error.cause ?? error)
    } else if (type === 'test:fail') {
      listed++
      console.log(`listed - ${id}: ${reason}`)
    } else if (reason === undefined) {
      passed++
    } else {
      report(id, 'it is listed in expected.json, and passes')
    }
  }
  if (ended !== count) report(basename(file), `${ended} of its ${count} tests ran`)
  for (const name of Object.keys(reasons)) report(`${basename(file)}: ${name}`, 'it is listed in expected.json, and is not there')
}

function report (name, why) {
  failed++
  console.log(`not ok - ${name}: ${why?.stack ?? why}`)
}

function end (code, text) {
  console.log(text)
  process.exit(code)
}

async function isFree (port) {
  const deadline = Date.now() + WAIT_FOR_PORT
  while (Date.now() < deadline) {
    const server = createServer()
    try {
      server.listen(port, 'localhost')
      await once(server, 'listening')
      server.close()
      await once(server, 'close')
      return true
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 250)) // nothing tells when another process leaves the port
    }
  }
  return false
}

// `npm start` as a reader of the README runs it: the example answers, and ends well when it is told to
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'

const port = await freePort()
const url = `http://127.0.0.1:${port}/`
const npm = spawn('npm', ['start'], {
  env: { ...process.env, PORT: String(port) },
  stdio: ['ignore', 'pipe', 'inherit'],
  detached: true // in a process group of its own, so that whatever it left behind can be ended with it
})
const exited = once(npm, 'exit')
const output = text(npm.stdout)
const serverPid = readServerPid()

try {
  await within(30_000, untilAnswered())
  // Not npm: the shell between it and the server passes no signal on
  process.kill(await within(1_000, serverPid), 'SIGTERM')
  assert.deepEqual(await within(30_000, exited), [0, null], 'npm start exits with 0 after SIGTERM')
  await assert.rejects(fetch(url), 'nothing listens after the end')
} finally {
  killGroup()
  console.log(await output)
}

async function freePort () {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

// Every line of the server's log names its process
function readServerPid () {
  return new Promise((resolve) => {
    npm.stdout.on('data', (chunk) => {
      const [, pid] = /"pid":(\d+)/.exec(chunk) ?? []
      if (pid !== undefined) resolve(Number(pid))
    })
  })
}

async function untilAnswered () {
  while (npm.exitCode === null) {
    const response = await fetch(url).catch(() => null) // it does not listen yet
    if (response !== null) return assert.equal(response.status, 200, 'GET / answers 200')
    await delay(100)
  }
  assert.fail('npm start ended before it answered')
}

function within (ms, promise) {
  const timeout = delay(ms, null, { ref: false }).then(() => assert.fail(`nothing came within ${ms} ms`))
  return Promise.race([promise, timeout])
}

function killGroup () {
  try {
    process.kill(-npm.pid, 'SIGKILL')
  } catch {} // it has ended, as it should
}

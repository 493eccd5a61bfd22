import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

const PROCESSES = 2
const RESTART_DELAY = 250 // ms

export interface ChatCluster {
  /** The origin of nginx, where the page is. */
  readonly origin: string
  /** The process ids of the servers that run now. */
  pids (): number[]
  close (): Promise<void>
}

export interface ChatClusterOptions {
  /** The port of nginx. */
  port: number
  /** The output streams of all processes. */
  stdio?: 'inherit' | 'ignore'
  /** Closes the cluster, even while it is being started. */
  signal?: AbortSignal
}

/** The chat in two processes behind nginx, with Redis between them. A server that ends is started again. */
export async function startCluster ({ port, stdio = 'inherit', signal }: ChatClusterOptions): Promise<ChatCluster> {
  const directory = await mkdtemp(join(tmpdir(), 'chat-'))
  const servers = new Set<ChildProcess>()
  const others = new Set<ChildProcess>()
  let closing: Promise<void> | undefined

  const start = (group: Set<ChildProcess>, command: string, args: string[], env: NodeJS.ProcessEnv = {}): ChildProcess => {
    if (closing !== undefined) throw new Error('The cluster is closing')
    const PATH = `${process.env.PATH}:/usr/sbin:/usr/local/sbin` // Debian's nginx is not in the PATH of every user
    const child = spawn(command, args, { stdio: ['ignore', stdio, stdio], env: { ...process.env, PATH, ...env } })
    group.add(child)
    child.once('error', (error) => console.error(`${command} is needed: ${error.message}`))
    child.once('close', () => group.delete(child))
    return child
  }

  const serve = (serverPort: number, redisPort: number) => {
    const env = { PORT: `${serverPort}`, REDIS_PORT: `${redisPort}` }
    start(servers, process.execPath, ['--import', 'tsx', join(import.meta.dirname, 'server.ts')], env).once('close', async () => {
      await delay(RESTART_DELAY)
      if (closing === undefined) serve(serverPort, redisPort)
    })
  }

  const endAll = async () => {
    await Promise.all(Array.from(servers, end)) // first, so that they can still send close frames through nginx
    await Promise.all(Array.from(others, end))
    await rm(directory, { recursive: true, force: true })
  }
  const close = () => {
    closing ??= endAll()
    return closing
  }
  signal?.addEventListener('abort', close)

  try {
    const redisPort = await findFreePort()
    start(others, 'redis-server', ['--port', `${redisPort}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', directory])
    await answers(redisPort, signal)
    const serverPorts = await Promise.all(Array.from({ length: PROCESSES }, findFreePort))
    for (const each of serverPorts) serve(each, redisPort)
    await Promise.all(serverPorts.map((each) => answers(each, signal)))
    await writeFile(join(directory, 'nginx.conf'), nginxConfiguration(port, serverPorts))
    start(others, 'nginx', ['-p', directory, '-c', 'nginx.conf', '-e', 'stderr'])
    await answers(port, signal)
  } catch (error) {
    await close()
    throw error
  }
  return { origin: `http://127.0.0.1:${port}`, pids: () => Array.from(servers, ({ pid }) => pid!), close }
}

function nginxConfiguration (port: number, serverPorts: number[]): string {
  return `
    daemon off;
    worker_processes 1;
    pid nginx.pid;
    events {}
    http {
      access_log off;
      ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${name};`).join(' ')}
      map $http_upgrade $connection_upgrade { default upgrade; '' close; }
      upstream chat {
        least_conn;
        ${serverPorts.map((each) => `server 127.0.0.1:${each} fail_timeout=1s;`).join(' ')}
      }
      server {
        listen 127.0.0.1:${port};
        location / {
          proxy_pass http://chat;
          proxy_http_version 1.1;
          proxy_set_header Host $http_host;
          proxy_set_header Upgrade $http_upgrade;
          proxy_set_header Connection $connection_upgrade;
        }
      }
    }`
}

async function end (child: ChildProcess): Promise<void> {
  const closed = once(child, 'close')
  child.kill()
  await closed
}

/** Resolves when something listens on the port. */
async function answers (port: number, signal?: AbortSignal): Promise<void> {
  for (const end = Date.now() + 15_000; Date.now() < end; await delay(50, undefined, { signal })) {
    const socket = connect(port, '127.0.0.1')
    const isOpen = await once(socket, 'connect').then(() => true, () => false)
    socket.destroy()
    if (isOpen) return
  }
  throw new Error(`nothing listens on port ${port}`)
}

async function findFreePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

if (process.argv[1] === import.meta.filename) {
  const stop = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort())
  try {
    const { origin } = await startCluster({ port: Number(process.env.PORT || 3000), signal: stop.signal })
    console.log(`Chat at ${origin}/`)
  } catch (error) {
    if (!stop.signal.aborted) throw error
  }
}

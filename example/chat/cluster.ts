import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

const PROCESSES = 2

export interface ChatCluster {
  /** Of nginx, where the page is. */
  readonly origin: string
  /** The process ids of the servers that run now. */
  pids (): number[]
  close (): Promise<void>
}

/** The chat in two processes behind nginx, with Redis between them. A server that ends is started again. */
export async function startCluster ({ port, stdio = 'inherit' }: { port: number, stdio?: 'inherit' | 'ignore' }): Promise<ChatCluster> {
  const directory = await mkdtemp(join(tmpdir(), 'chat-'))
  const servers = new Set<ChildProcess>()
  const others = new Set<ChildProcess>()
  let isClosing = false

  const start = (group: Set<ChildProcess>, command: string, args: string[], env: NodeJS.ProcessEnv = {}): ChildProcess => {
    const PATH = `${process.env.PATH}:/usr/sbin:/usr/local/sbin` // Debian's nginx is not on everybody's
    const child = spawn(command, args, { stdio: ['ignore', stdio, stdio], env: { ...process.env, PATH, ...env } })
    group.add(child)
    child.once('error', (error) => console.error(`${command} is needed: ${error.message}`))
    child.once('close', () => group.delete(child))
    return child
  }

  const serve = (serverPort: number, redisPort: number) => {
    const env = { PORT: `${serverPort}`, REDIS_PORT: `${redisPort}` }
    start(servers, process.execPath, ['--import', 'tsx', join(import.meta.dirname, 'server.ts')], env).once('close', () => {
      if (!isClosing) serve(serverPort, redisPort)
    })
  }

  const close = async () => {
    isClosing = true
    await Promise.all(Array.from(servers, end)) // first, so that everybody is told
    await Promise.all(Array.from(others, end))
    await rm(directory, { recursive: true })
  }

  try {
    const redisPort = await findFreePort()
    start(others, 'redis-server', ['--port', `${redisPort}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', directory])
    await answers(redisPort)
    const serverPorts = await Promise.all(Array.from({ length: PROCESSES }, findFreePort))
    for (const each of serverPorts) serve(each, redisPort)
    await Promise.all(serverPorts.map(answers))
    await writeFile(join(directory, 'nginx.conf'), nginxConfiguration(port, serverPorts))
    start(others, 'nginx', ['-p', directory, '-c', 'nginx.conf', '-e', 'stderr'])
    await answers(port)
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

/** Resolves when something listens there. */
async function answers (port: number): Promise<void> {
  for (const end = Date.now() + 15_000; Date.now() < end; await delay(50)) {
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
  const { origin, close } = await startCluster({ port: Number(process.env.PORT || 3000) })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, close)
  console.log(`Chat at ${origin}/`)
}

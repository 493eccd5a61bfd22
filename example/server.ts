import { buildServer } from './app.js'

const app = await buildServer({ logger: true })

// `once`, so that a second Ctrl+C ends the process at once
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => app.close())

const address = await app.listen({ port: Number(process.env.PORT || 3000), host: '127.0.0.1' })
console.log(`Talk to it at ${address}/`)

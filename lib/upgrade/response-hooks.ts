import type { ServerResponse } from 'node:http'
import type { FastifyInstance } from 'fastify'

/**
 * Registers a plugin without its `onResponse` hooks. The one of `@fastify/websocket` destroys the socket of an upgrade that
 * it has noted, and it notes none here; every request and every connection would pay for it.
 */
export async function withoutResponseHooks (app: FastifyInstance, register: () => PromiseLike<unknown>): Promise<void> {
  const { addHook } = app
  app.addHook = function (this: FastifyInstance, ...args: [name: string, hook: never]) {
    return args[0] === 'onResponse' ? this : Reflect.apply(addHook, this, args)
  }
  try {
    await register()
  } finally {
    app.addHook = addHook
  }
}

/** Whether any route that may be upgraded, in an app that is ready, has an `onResponse` hook, of its own or of its scope: this is Fastify's public way to ask. */
export function hasResponseHooks (app: FastifyInstance): boolean {
  return app.printRoutes({ method: 'GET', includeMeta: ['onResponse'] }).includes('(onResponse) ')
}

/**
 * For when the connection has ended: Fastify runs the `onResponse` hooks, and logs "request completed", at this event, which
 * nobody emits for a response without a socket.
 */
export function runResponseHooks (response: ServerResponse): void {
  response.statusCode = 101
  response.emit('finish')
}

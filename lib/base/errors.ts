import createError from '@fastify/error'

/**
 * Every error of this package, by its code. The status is the HTTP answer where the error leaves a handler
 * before the upgrade; afterwards a handler that lets it pass has failed.
 */
export const errors = {
  FST_WSA_UPGRADE_REQUIRED: createError(
    'FST_WSA_UPGRADE_REQUIRED',
    'Cannot open a WebSocket: "%s %s" is not a WebSocket upgrade request; connect with a WebSocket client',
    426),
  FST_WSA_UNSUPPORTED_VERSION: createError(
    'FST_WSA_UNSUPPORTED_VERSION',
    'Cannot open a WebSocket: version "%s" was asked for; only version 13 is supported',
    426),
  FST_WSA_BAD_HANDSHAKE: createError(
    'FST_WSA_BAD_HANDSHAKE',
    'Cannot open a WebSocket: the handshake is malformed: %s',
    400),
  FST_WSA_ORIGIN_REFUSED: createError(
    'FST_WSA_ORIGIN_REFUSED',
    'Cannot open a WebSocket: the origin "%s" may not connect to "%s"; see the option origin, and Fastify\'s option trustProxy if there is a proxy',
    403),
  FST_WSA_SUBPROTOCOL_NOT_OFFERED: createError(
    'FST_WSA_SUBPROTOCOL_NOT_OFFERED',
    'Cannot select the subprotocol "%s": the client offered "%s"; select one of these, or null for none',
    400),
  FST_WSA_TOO_MANY_CONNECTIONS: createError(
    'FST_WSA_TOO_MANY_CONNECTIONS',
    'Cannot open a WebSocket: %d connections are open, and no more are allowed; connect again later',
    503),
  FST_WSA_DUPLICATE_IDENTIFIER: createError(
    'FST_WSA_DUPLICATE_IDENTIFIER',
    'Cannot open a WebSocket: a connection with the identifier "%s" is open; close that one first, or set duplicateIdentifier to "replace"',
    409),
  FST_WSA_APP_CLOSING: createError(
    'FST_WSA_APP_CLOSING',
    'Cannot open a WebSocket: the server is shutting down; connect again later',
    503),
  FST_WSA_CLIENT_GONE: createError(
    'FST_WSA_CLIENT_GONE',
    'Cannot open a WebSocket: the client left before the upgrade was accepted',
    499),
  FST_WSA_UPGRADE_TIMEOUT: createError(
    'FST_WSA_UPGRADE_TIMEOUT',
    'Cannot open a WebSocket: the upgrade was neither accepted nor answered within %d ms; accept earlier, or raise upgradeTimeout',
    408),
  FST_WSA_REPLY_ALREADY_SENT: createError(
    'FST_WSA_REPLY_ALREADY_SENT',
    'Cannot %s: the request was already answered with %s',
    500),
  FST_WSA_NOT_IN_HANDLER: createError(
    'FST_WSA_NOT_IN_HANDLER',
    'Cannot open a WebSocket outside of a route handler; call getWebSocketAsync() in the handler of the route',
    500),
  FST_WSA_UPGRADE_TAKEN: createError(
    'FST_WSA_UPGRADE_TAKEN',
    'Cannot open a WebSocket: another upgrade listener of the server answers "%s %s"; give that one other paths, such as a prefix for @fastify/http-proxy',
    500),
  FST_WSA_ROUTE_TOO_EARLY: createError(
    'FST_WSA_ROUTE_TOO_EARLY',
    'Cannot open a WebSocket: the route "%s" was declared before the plugin had loaded; await app.register(websocketAsync) first',
    500),
  FST_WSA_ALREADY_REGISTERED: createError(
    'FST_WSA_ALREADY_REGISTERED',
    'Cannot register the plugin: %s is registered on this server already; register fastify-websocket-async once, at the root, in place of @fastify/websocket',
    500),
  FST_WSA_BAD_OPTION: createError(
    'FST_WSA_BAD_OPTION',
    'Invalid option %s: expected %s, received %s',
    500),
  FST_WSA_INVALID_CLOSE: createError(
    'FST_WSA_INVALID_CLOSE',
    'Cannot close with %s: %s',
    500),
  FST_WSA_BUS_LOST: createError(
    'FST_WSA_BUS_LOST',
    'Cannot reach other nodes: %s; local subscribers are served all the same, and the connection to the broker is restored automatically',
    503),
  FST_WSA_INVALID_ARGUMENT: createError(
    'FST_WSA_INVALID_ARGUMENT',
    'Invalid argument %s: expected %s, received %s',
    500)
} as const

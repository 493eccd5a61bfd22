'use strict'

// For `node --require`. Where a test of `@fastify/websocket` requires its own package, it gets this one, built, as a
// CommonJS app does; and neither a test of theirs nor its process stays for ever. Nothing else is touched: the plugin itself still finds
// `@fastify/websocket`.

const Module = require('node:module')
const { dirname, join, sep } = require('node:path')

const TEST_TIMEOUT = 5_000 // in ms: theirs take less than two seconds
const FILE_TIMEOUT = Number(process.env.DROP_IN_FILE_TIMEOUT)

const plugin = join(__dirname, '../../dist/index.js')
const upstream = dirname(require.resolve('@fastify/websocket/package.json'))
const { _load: load, _resolveFilename: resolveFilename } = Module

if (FILE_TIMEOUT > 0) setTimeout(() => process.exit(124), FILE_TIMEOUT).unref()

Module._resolveFilename = function (request, parent, ...rest) {
  const resolved = resolveFilename.call(this, request, parent, ...rest)
  return isTheirTest(parent) && resolved === join(upstream, 'index.js') ? plugin : resolved
}

Module._load = function (request, parent, ...rest) {
  const loaded = load.call(this, request, parent, ...rest)
  return request === 'node:test' && isTheirTest(parent) ? { ...loaded, test: bounded(loaded.test) } : loaded
}

function isTheirTest (parent) {
  return parent?.filename?.startsWith(join(upstream, 'test') + sep) === true
}

function bounded (test) {
  return function (name, ...rest) {
    const run = rest.pop()
    return test(name, { timeout: TEST_TIMEOUT, ...rest[0] }, run)
  }
}

import { inspect } from 'node:util'
import t from 'tap'
import {
  assertCancelOptions, assertInterval, assertNames, assertOptions, assertPlainObject, CANCEL_OPTIONS, durationOption, invalidArgument, show
} from '../../lib/base/validation.js'

t.test('an unknown name is refused with the known one that begins most like it', async (t) => {
  const names = { timeout: true, signal: true } as const
  const messageOf = (options: object) => {
    try {
      assertNames(options, names, invalidArgument)
      return null
    } catch (error) {
      return (error as Error).message
    }
  }
  t.equal(messageOf({ timeOut: 50 }), 'Invalid argument timeOut: expected a known name, such as timeout, received 50')
  t.equal(messageOf({ Sig: null }), 'Invalid argument Sig: expected a known name, such as signal, received null')
  t.match(messageOf({ constructor: 1 }), /constructor/)
  t.match(messageOf(Object.create({ timeOut: 1 })), /timeOut/, 'an inherited name counts, for it would be read')
  t.equal(messageOf({}), null)
  t.equal(messageOf({ timeout: undefined, signal: undefined }), null)
})

t.test('a number in place of the options of a call is answered with what to write', async (t) => {
  t.throws(() => assertCancelOptions(30_000 as never), { message: /expected \{ timeout: 30000 \}, received 30000$/ })
  t.throws(() => assertCancelOptions('5s' as never), { message: /expected \{ timeout: 30000 \}, received '5s'$/ })
})

t.test('timeout is a time in ms that a timer of Node.js can keep, or Infinity', async (t) => {
  for (const timeout of [undefined, 0, 0.5, 30_000, 2 ** 31 - 1, Infinity]) {
    assertCancelOptions({ timeout })
    t.equal(durationOption('closeTimeout', timeout, 7), timeout ?? 7)
  }
  for (const timeout of [-1, NaN, -Infinity, 2 ** 31, '5', null]) {
    t.throws(() => assertCancelOptions({ timeout } as never), { code: 'FST_WSA_INVALID_ARGUMENT', message: /^Invalid argument timeout: / }, String(timeout))
    t.throws(() => durationOption('closeTimeout', timeout as never, 7), { code: 'FST_WSA_BAD_OPTION', message: /^Invalid option closeTimeout: / })
  }
})

t.test('signal is an AbortSignal', async (t) => {
  assertCancelOptions({ signal: undefined })
  assertCancelOptions({ signal: AbortSignal.abort() })
  for (const signal of [null, {}, new AbortController(), new EventTarget()]) {
    t.throws(() => assertCancelOptions({ signal } as never), { code: 'FST_WSA_INVALID_ARGUMENT', message: /signal: expected an AbortSignal/ })
  }
})

t.test('names beside timeout and signal are accepted where a call has them, and refused elsewhere', async (t) => {
  const names = { ...CANCEL_OPTIONS, compress: true } as const
  assertCancelOptions({ timeout: 1, compress: true } as object, names)
  t.throws(() => assertCancelOptions({ timeout: 1, compress: true } as object), { message: /^Invalid argument options\.compress: / })
  t.throws(() => assertCancelOptions(null as never), { code: 'FST_WSA_INVALID_ARGUMENT', message: /options: expected \{ timeout: 30000 \}, received null$/ })
})

t.test('assertOptions() shows what to write for a call that takes something else than a timeout', async (t) => {
  assertOptions({}, {}, '{ wildcards: true }')
  t.throws(() => assertOptions(undefined, {}, '{ wildcards: true }'), { message: 'Invalid argument options: expected { wildcards: true }, received undefined' })
})

t.test('assertPlainObject() refuses objects whose keys are not their own', async (t) => {
  for (const value of [{}, { a: 1 }, Object.create(null)]) assertPlainObject('headers', value)
  for (const value of [null, undefined, 'ab', 5, [], new Map(), new Headers(), Object.create({})]) {
    t.throws(() => assertPlainObject('headers', value), { code: 'FST_WSA_BAD_OPTION', message: /^Invalid option headers: expected a plain object/ })
  }
})

t.test('assertInterval() accepts 1 ms to the longest delay of a timer', async (t) => {
  for (const interval of [1, 1.5, 2 ** 31 - 1]) assertInterval('interval', interval)
  for (const interval of [0, 0.5, -1, NaN, Infinity, 2 ** 31, '5']) {
    t.throws(() => assertInterval('interval', interval as number), { code: 'FST_WSA_INVALID_ARGUMENT', message: /interval/ }, String(interval))
  }
})

t.test('show() writes a value on one line, and cuts a long one short', async (t) => {
  t.equal(show({ a: { b: 1 }, c: '\n' }), "{ a: [Object], c: '\\n' }")
  for (const value of ['x'.repeat(1000), Array(1000).fill(0), { text: 'x'.repeat(1000) }]) {
    const text = show(value)
    t.ok(text.length < 120, text)
    t.notMatch(text, /\n/)
  }
})

t.test('show() never throws', async (t) => {
  const view = new DataView(new ArrayBuffer(8))
  structuredClone(view.buffer, { transfer: [view.buffer] })
  const unreadable = { get [Symbol.toStringTag] () { throw new Error('no') } }
  for (const value of [view, unreadable]) t.type(show(value), 'string') // newer versions of Node.js show these values
  const throwing = { [inspect.custom] () { throw new Error('no') } }
  t.equal(show(throwing), 'a value of type object that cannot be shown')
})

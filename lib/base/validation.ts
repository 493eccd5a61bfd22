import { inspect } from 'node:util'
import { errors } from './errors.js'

/** The longest delay of Node's timers, in ms. A timer with a longer one would fire at once. */
const MAX_DELAY = 2 ** 31 - 1

const DURATION = `a time in ms, from 0 to ${MAX_DELAY}, or Infinity`

/** Whether it is a time in ms that a timer can wait, or `Infinity`, which means no limit. */
function isDuration (value: unknown): value is number {
  return typeof value === 'number' && (value === Infinity || (value >= 0 && value <= MAX_DELAY))
}

/**
 * Shows a value in the text of an error, on one line and not too long. It never throws, although inspecting a value may throw, as for a
 * DataView whose bytes were transferred.
 */
export function show (value: unknown): string {
  try {
    return inspect(value, { depth: 0, breakLength: Infinity, maxStringLength: 60, maxArrayLength: 5 })
  } catch {
    return `a value of type ${typeof value} that cannot be shown`
  }
}

export function badOption (name: string, expected: string, value: unknown): Error {
  return new errors.FST_WSA_BAD_OPTION(name, expected, show(value))
}

export function invalidArgument (name: string, expected: string, value: unknown): Error {
  return new errors.FST_WSA_INVALID_ARGUMENT(name, expected, show(value))
}

/** Refuses an object that is not plain. A `Headers`, for example, would be read as if it were empty. */
export function assertPlainObject (name: string, value: unknown): void {
  const prototype: unknown = typeof value === 'object' && value !== null ? Object.getPrototypeOf(value) : undefined
  if (prototype !== Object.prototype && prototype !== null) throw badOption(name, 'a plain object', value)
}

/** Reads a plugin option that is a time in ms. */
export function durationOption (name: string, value: number | undefined, byDefault: number): number {
  if (value === undefined) return byDefault
  if (!isDuration(value)) throw badOption(name, DURATION, value)
  return value
}

/** Options with which a call can be ended early. */
export interface CancelOptions {
  /** After this many ms the call ends without a result. `0` does not wait at all, `Infinity` waits without limit. */
  readonly timeout?: number | undefined
  /** Ends the call without a result when it aborts. */
  readonly signal?: AbortSignal | undefined
}

/** All names that an options object may have. The compiler refuses a list in which one is missing. */
export type Names<Options> = Readonly<Record<keyof Options, true>>

/** Refuses an unknown name. In JavaScript no compiler does so, and a misspelt `timeout` would be no timeout at all. */
export function assertNames (
  options: object,
  names: Readonly<Record<string, true>>,
  refuse: (name: string, expected: string, value: unknown) => Error,
  path = ''
): void {
  for (const name in options) {
    if (names[name] === true) continue
    throw refuse(path + name, `a known name, such as ${closest(name, Object.keys(names))}`, (options as Record<string, unknown>)[name])
  }
}

/** The known name whose beginning has most in common with this one. */
function closest (name: string, names: readonly string[]): string {
  const lengths = names.map((each) => commonStart(name.toLowerCase(), each.toLowerCase()))
  return names[lengths.indexOf(Math.max(...lengths))] as string // there is at least one name
}

function commonStart (a: string, b: string): number {
  let length = 0
  while (length < a.length && a[length] === b[length]) length++
  return length
}

/**
 * Checks the options of a call.
 * @param example what could be passed instead, for the text of the error
 * @throws FST_WSA_INVALID_ARGUMENT
 */
export function assertOptions (options: unknown, names: Readonly<Record<string, true>>, example = 'an object'): asserts options is object {
  if (typeof options !== 'object' || options === null) throw invalidArgument('options', example, options)
  assertNames(options, names, invalidArgument, 'options.')
}

export const CANCEL_OPTIONS: Names<CancelOptions> = { timeout: true, signal: true }

/** @throws FST_WSA_INVALID_ARGUMENT */
export function assertCancelOptions (options: CancelOptions, names: Readonly<Record<string, true>> = CANCEL_OPTIONS): void {
  if (!hasOnlyCancelNames(options)) assertOptions(options, names, `{ timeout: ${typeof options === 'number' ? options : 30_000} }`)
  const { timeout, signal } = options
  if (timeout !== undefined && !isDuration(timeout)) throw invalidArgument('timeout', DURATION, timeout)
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw invalidArgument('signal', 'an AbortSignal', signal)
}

/** A fast path for calls that are made for every message: comparing two names is faster than looking them up. */
function hasOnlyCancelNames (options: CancelOptions): boolean {
  if (typeof options !== 'object' || options === null) return false
  for (const name in options) {
    if (name !== 'timeout' && name !== 'signal') return false
  }
  return true
}

/** @throws FST_WSA_INVALID_ARGUMENT */
export function assertInterval (name: string, value: number): void {
  if (!isDuration(value) || value < 1 || value === Infinity) {
    throw invalidArgument(name, `a time in ms, from 1 to ${MAX_DELAY}`, value)
  }
}

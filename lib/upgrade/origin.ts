import type { FastifyRequest } from 'fastify'
import { badOption } from '../base/validation.js'

type OriginFunction = (origin: string, request: FastifyRequest) => boolean | Promise<boolean>

/** Which web pages may open a connection. */
export type OriginOption = 'same-origin' | '*' | (string & {}) | RegExp | readonly (string | RegExp)[] | OriginFunction

/** Whether a request with this Origin header may open a connection. */
export type OriginRule = (origin: string, request: FastifyRequest) => boolean | Promise<boolean>

/** @throws FST_WSA_BAD_OPTION */
export function originRule (option: OriginOption): OriginRule {
  if (typeof option === 'function') return option
  const rules = [option].flat().map(ruleOf)
  return (origin, request) => rules.some((isAllowed) => isAllowed(origin, request))
}

function ruleOf (option: unknown): (origin: string, request: FastifyRequest) => boolean {
  if (option === '*') return () => true
  if (option === 'same-origin') return isSameOrigin
  if (option === 'null') return (origin) => origin === 'null'
  if (option instanceof RegExp) return (origin) => origin.search(option) !== -1 // unlike test(), search() ignores lastIndex
  const allowed = typeof option === 'string' ? readOption(option) : null
  if (allowed === null) {
    throw badOption('origin', "'same-origin', '*', an origin such as 'https://example.com', a RegExp, an array of these, or a function", option)
  }
  return (origin) => normalise(readHeader(origin)) === allowed
}

/** Reads an origin as people write it: it may end with a slash, and a browser may serialise its host differently. */
function readOption (origin: string): string | null {
  return /^[^/]+:\/\/[^/\\?#@]+\/?$/.test(origin) ? normalise(parse(origin)) : null
}

/** Scheme, host and port, without a default port. */
function normalise (url: URL | null): string | null {
  return url === null || url.host === '' ? null : `${url.protocol}//${url.host}`
}

/** RFC 6454, sections 6.2 and 7.1: `scheme://host`, with an optional `:port`. */
const SERIALISED = /^[a-z][-+.\da-z]*:\/\/([!-~]+?)(?::(?:0|[1-9]\d*))?$/i

/**
 * Reads an origin from a header, where it has to be serialised. The URL parser also accepts other texts and repairs them: it drops
 * tabs and userinfo, decodes `%2E` and takes a backslash for a slash. A text that it had to repair is no origin.
 */
function readHeader (origin: string): URL | null {
  const [, host] = SERIALISED.exec(origin) ?? []
  const url = parse(origin)
  return url?.hostname.toLowerCase() === host?.toLowerCase() ? url : null
}

/**
 * Compares host and port with those of the request, or with those that a trusted proxy has forwarded. The scheme is not compared,
 * because a proxy often ends TLS. The scheme of the Origin decides which port is the default port of both.
 */
function isSameOrigin (origin: string, { host }: FastifyRequest): boolean {
  const theirs = readHeader(origin)
  return theirs !== null && /^https?:$/.test(theirs.protocol) && theirs.host === readHeader(`${theirs.protocol}//${host}`)?.host
}

function parse (url: string): URL | null {
  try {
    return new URL(url)
  } catch {
    return null
  }
}

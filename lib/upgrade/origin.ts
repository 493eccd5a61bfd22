import type { FastifyRequest } from 'fastify'
import { badOption } from '../base/validation.js'

type OriginFunction = (origin: string, request: FastifyRequest) => boolean | Promise<boolean>

/** Who may open a socket from a browser. */
export type OriginOption = 'same-origin' | '*' | (string & {}) | RegExp | readonly (string | RegExp)[] | OriginFunction

/** Whether a request with this Origin header may open a socket. */
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
  if (option instanceof RegExp) return (origin) => origin.search(option) !== -1 // search() knows no lastIndex
  const allowed = typeof option === 'string' ? readOption(option) : null
  if (allowed === null) {
    throw badOption('origin', "'same-origin', '*', an origin such as 'https://example.com', a RegExp, an array of these, or a function", option)
  }
  return (origin) => normalise(readHeader(origin)) === allowed
}

/** An origin as it is written by hand: also with a slash behind it, or with a host that a browser would serialise otherwise. */
function readOption (origin: string): string | null {
  return /^[^/]+:\/\/[^/\\?#@]+\/?$/.test(origin) ? normalise(parse(origin)) : null
}

/** Scheme, host and port, the default port left out. */
function normalise (url: URL | null): string | null {
  return url === null || url.host === '' ? null : `${url.protocol}//${url.host}`
}

/** RFC 6454, sections 6.2 and 7.1: `scheme://host`, and perhaps `:port`. */
const SERIALISED = /^[a-z][-+.\da-z]*:\/\/([!-~]+?)(?::(?:0|[1-9]\d*))?$/i

/**
 * An origin as it stands in a header, where it is serialised already. The URL parser would also read what is none, and repair
 * it: it drops tabs and userinfo, decodes `%2E` and takes a backslash for a slash. What it had to repair is no origin.
 */
function readHeader (origin: string): URL | null {
  const [, host] = SERIALISED.exec(origin) ?? []
  const url = parse(origin)
  return url?.hostname.toLowerCase() === host?.toLowerCase() ? url : null
}

/**
 * Compares host and port with those of the request, or with those that a trusted proxy has forwarded. The scheme is not
 * compared, because TLS often ends before us; the Origin's decides which port is the default one in both.
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

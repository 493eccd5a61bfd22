import type { FastifyRequest } from 'fastify'
import { badOption } from './arguments.js'

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
  const allowed = typeof option === 'string' ? normalise(option) : null
  if (allowed === null) {
    throw badOption('origin', "'same-origin', '*', an origin such as 'https://example.com', a RegExp, an array of these, or a function", option)
  }
  return (origin) => normalise(origin) === allowed
}

/** Scheme, host and port, the default port left out; `null` for what is no origin, or more than one. */
function normalise (origin: string): string | null {
  const url = parse(origin)
  return url !== null && url.host !== '' && /^[^/]+:\/\/[^/?#@]+\/?$/.test(origin) ? `${url.protocol}//${url.host}` : null
}

/**
 * Host and port are those of the request (behind a proxy that the app trusts: as that one has forwarded them). The scheme
 * is not compared, for TLS often ends before us: so the Origin's tells which port goes without saying in both.
 */
function isSameOrigin (origin: string, { host }: FastifyRequest): boolean {
  const theirs = parse(origin)
  return theirs !== null && theirs.host !== '' && theirs.host === parse(`${theirs.protocol}//${host}`)?.host
}

function parse (url: string): URL | null {
  try {
    return new URL(url)
  } catch {
    return null
  }
}

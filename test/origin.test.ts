import type { FastifyRequest } from 'fastify'
import t from 'tap'
import { originRule, type OriginOption } from '../lib/origin.js'

const isAllowed = (option: OriginOption, origin: string, host = 'example.com') => originRule(option)(origin, { host } as FastifyRequest)

t.test("'same-origin' compares host and port, and not the scheme", async (t) => {
  const cases: [string, string, boolean][] = [
    ['https://example.com', 'example.com', true],
    ['http://example.com', 'example.com', true],
    ['https://EXAMPLE.com', 'Example.COM', true],
    ['https://example.com', 'example.com:443', true],
    ['https://example.com:443', 'example.com', true],
    ['http://example.com', 'example.com:80', true],
    ['https://example.com', 'example.com:80', false],
    ['http://example.com:8080', 'example.com:8080', true],
    ['http://example.com:8080', 'example.com', false],
    ['http://example.com', 'example.com:8080', false],
    ['https://sub.example.com', 'example.com', false],
    ['https://example.com.evil.test', 'example.com', false],
    ['https://evil.test/example.com', 'example.com', false],
    ['https://[::1]:3000', '[::1]:3000', true],
    ['null', 'example.com', false],
    ['', 'example.com', false],
    ['file://', 'example.com', false],
    ['file://', '', false],
    ['https://example.com', '', false],
    ['https://example.com', 'not a host', false]
  ]
  for (const [origin, host, expected] of cases) t.equal(isAllowed('same-origin', origin, host), expected, `${origin} to ${host}`)
})

t.test('an origin is compared whole, its default port left out', async (t) => {
  t.equal(isAllowed('https://a.test', 'https://a.test'), true)
  t.equal(isAllowed('https://a.test:443/', 'https://A.test'), true)
  t.equal(isAllowed('https://a.test', 'http://a.test'), false)
  t.equal(isAllowed('https://a.test', 'https://a.test:8443'), false)
  t.equal(isAllowed('https://a.test', 'https://a.test, https://b.test'), false)
  t.equal(isAllowed('https://a.test', 'null'), false)
  t.equal(isAllowed('null', 'null'), true)
  t.equal(isAllowed('*', 'null'), true)
})

t.test('a RegExp has no memory', async (t) => {
  const rule = originRule(/^https:\/\/\w+\.a\.test$/g)
  for (let i = 0; i < 3; i++) t.equal(rule('https://b.a.test', {} as FastifyRequest), true)
  t.equal(rule('https://a.test', {} as FastifyRequest), false)
})

t.test('a list allows what any of it does', async (t) => {
  const list = ['same-origin', 'https://a.test', /\.b\.test$/]
  t.equal(isAllowed(list, 'http://example.com'), true)
  t.equal(isAllowed(list, 'https://a.test'), true)
  t.equal(isAllowed(list, 'https://x.b.test'), true)
  t.equal(isAllowed(list, 'https://c.test'), false)
  t.equal(isAllowed([], 'https://c.test'), false)
})

import type { FastifyRequest } from 'fastify'
import t from 'tap'
import { originRule, type OriginOption } from '../../lib/upgrade/origin.js'

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

t.test('what is no serialised origin is of no origin, whatever a URL parser makes of it', async (t) => {
  const tricks = [
    'https://a.test\\.evil.test', 'https://a.test\\@evil.test', 'https:\\\\a.test', 'https:/a.test', 'https:a.test', 'https:///a.test', '//a.test', 'a.test',
    'https://evil.test@a.test', 'https://a.test@evil.test', 'https://user:secret@a.test', 'https://@a.test', 'https://:@a.test',
    'https://a.test/', 'https://a.test/path', 'https://a.test?', 'https://a.test?query', 'https://a.test#', 'https://a.test#fragment',
    ' https://a.test', 'https://a.test ', 'https:// a.test', 'ht\ttps://a.test', 'https://a\t.test', 'https://a.te\nst', 'https://a.test\r\n', '\u0000https://a.test',
    'https://a.test:', 'https://a.test:0443', 'https://a.test: 443', 'https://a.test:443:443', 'https://a.test:65536', 'https://a.test:+443', 'https://a.test:4e2',
    'https://a.test, https://a.test', 'https://a.test https://a.test', 'https://evil.test, https://a.test', 'https://a.test,https://evil.test', 'null, https://a.test',
    'https://a%2Etest', 'https://%61.test', 'https://a.test%00', 'https://a.test%2f.evil.test', 'https://ａ.test', 'https://a。test', 'https://a.t\u00adest', 'https://a.tes\u0074\u0301',
    'https://a.test.', 'https://.a.test', 'https://a..test', 'https://*.test', 'https://[a.test]', 'https://a.test]', 'view-source:https://a.test', 'blob:https://a.test', 'null', ''
  ]
  for (const trick of tricks) {
    t.equal(isAllowed('https://a.test', trick), false, JSON.stringify(trick))
    t.equal(isAllowed('same-origin', trick, 'a.test'), false, `${JSON.stringify(trick)} to itself`)
  }
  for (const [origin, allowed] of [
    ['http://127.1', 'http://127.0.0.1'], ['http://2130706433', 'http://127.0.0.1'], ['http://0x7f.0.0.1', 'http://127.0.0.1'], ['http://0177.0.0.1', 'http://127.0.0.1'],
    ['http://[0:0:0:0:0:0:0:1]', 'http://[::1]'], ['http://[::1', 'http://[::1]'], ['http://::1', 'http://[::1]'], ['http://[::127.0.0.1]', 'http://[::7f00:1]'],
    ['https://münchen.test', 'https://xn--mnchen-3ya.test']
  ] as const) {
    t.equal(isAllowed(allowed, origin), false, `${origin} as ${allowed}`)
    t.equal(isAllowed('same-origin', origin, allowed.slice(allowed.indexOf('//') + 2)), false, `${origin} to ${allowed}`)
  }
})

t.test('a Host that is more than a host and a port is of no origin', async (t) => {
  const tricks = [
    'evil.test@a.test', 'user:secret@a.test', '@a.test', 'a.test/', 'a.test/path', 'a.test?', 'a.test#', 'a.test\\.evil.test', 'a.test\\', ' a.test', 'a.test ', 'a\t.test', 'a.test:',
    'a.test:0443', 'a.test:443:443', 'a.test, a.test', 'a.test,evil.test', 'a%2Etest', 'a。test', 'a.test.', 'https://a.test', '//a.test', '[a.test]', ''
  ]
  for (const trick of tricks) t.equal(isAllowed('same-origin', 'https://a.test', trick), false, JSON.stringify(trick))
})

t.test('what browsers send is allowed', async (t) => {
  for (const origin of [
    'https://a.test', 'http://localhost:3000', 'http://127.0.0.1:8080', 'http://[::1]', 'http://[2001:db8::1]:8080', 'https://xn--mnchen-3ya.test', 'https://my_service.test:8443',
    'https://a.test.', 'http://1.test', 'http://a-b.c-d.test:65535', 'https://a.test:80', 'http://a.test:443'
  ]) {
    const host = origin.slice(origin.indexOf('//') + 2)
    t.equal(isAllowed(origin, origin), true, origin)
    t.equal(isAllowed('same-origin', origin, host), true, `${origin} to ${host}`)
  }
  for (const origin of ['chrome-extension://abcdefghijklmnopabcdefghijklmnop', 'moz-extension://11111111-2222-3333-4444-555555555555', 'capacitor://localhost', 'app://My.App']) {
    t.equal(isAllowed(origin, origin), true, origin)
    t.equal(isAllowed('same-origin', origin, origin.slice(origin.indexOf('//') + 2)), false, `${origin} is of no HTTP server`)
  }
})

t.test('an origin in the options is read as a URL', async (t) => {
  t.equal(isAllowed('https://münchen.test/', 'https://xn--mnchen-3ya.test'), true)
  t.equal(isAllowed('HTTP://[0:0:0:0:0:0:0:1]:80', 'http://[::1]'), true)
  for (const option of ['https://a.test/path', 'https://user@a.test', 'https://a.test?query', 'https://a.test#fragment', 'https://a.test\\b.test', 'a.test', 'file://', 'https://a.test, https://b.test', '']) {
    t.throws(() => originRule(option), { code: 'FST_WSA_BAD_OPTION' }, option)
  }
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

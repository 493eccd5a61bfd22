import t from 'tap'
import { isHeaderField, isToken } from '../../lib/base/http.js'

t.test('isToken() is true for every character that RFC 9110 allows in a token, and for no other', async (t) => {
  const allowed = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
  t.equal(isToken(allowed), true)
  for (let code = 0; code < 256; code++) {
    const character = String.fromCharCode(code)
    t.equal(isToken(`a${character}`), allowed.includes(character), `character ${code}`)
  }
  t.equal(isToken(''), false)
  t.equal(isToken('graphql-ws\n'), false)
})

t.test('isHeaderField() is false for a name or a value that would end the line', async (t) => {
  t.equal(isHeaderField('x-name', 'value with spaces, and \u00e9'), true)
  t.equal(isHeaderField('x-name', ''), true)
  for (const name of ['', 'x name', 'x:name', 'x\r\nname']) t.equal(isHeaderField(name, 'value'), false, JSON.stringify(name))
  for (const value of ['a\r\nb: c', 'a\nb', 'a\0b', '\u20ac']) t.equal(isHeaderField('x-name', value), false, JSON.stringify(value))
})

t.test('isHeaderField() is false for a value that is missing, which JavaScript lets through', async (t) => {
  t.equal(isHeaderField('x-name', undefined as unknown as string), false)
})

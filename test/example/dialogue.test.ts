import t from 'tap'
import { parseInt32 } from '../../example/dialogue.js'

const accepted: [text: string, value: number][] = [
  ['0', 0],
  ['36', 36],
  ['007', 7],
  ['+36', 36],
  ['-36', -36],
  ['-0', 0],
  [' 36', 36],
  ['36\r\n', 36],
  ['\t\v\f 36 \t', 36],
  ['2147483647', 2147483647],
  ['-2147483648', -2147483648],
  ['0000000000000000000000000000000000000036', 36]
]

const refused = [
  '', ' ', '\n', '+', '-', '+-1', '--1', '- 1', '1-', '1 2', '12abc', 'abc', '1.5', '1.0', '1.', '1,000', '1_000',
  '1e3', '0x10', '0b1', 'NaN', 'Infinity', '(1)', '٣٦', '\u00a036', '36\u2003', '\ufeff36',
  '2147483648', '-2147483649', '4294967296', '9007199254740993', '9'.repeat(400)
]

t.test('parseInt32() reads an integer as Int32.TryParse does', async (t) => {
  for (const [text, value] of accepted) t.equal(parseInt32(text), value, JSON.stringify(text))
})

t.test('parseInt32() gives null for what is no integer, or is none of 32 bits', async (t) => {
  for (const text of refused) t.equal(parseInt32(text), null, JSON.stringify(text))
})

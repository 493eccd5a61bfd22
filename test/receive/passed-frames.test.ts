import t from 'tap'
import { PassedFrames } from '../../lib/receive/passed-frames.js'
import { closeFrame, frame, readFrame } from '../fixtures/frames.js'

const [CONTINUATION, TEXT, BINARY, PING, PONG] = [0, 1, 2, 9, 10]
const MASK = Buffer.from([0x81, 0x02, 0x83, 0x74])
const BEHIND = { isBehind: true }
const UP_TO_DATE = { isBehind: false }

// The first byte of a character
const SPLIT = Buffer.from([0x61, 0xc3])
const begin = (payload: string | Buffer = 'begin', opcode = TEXT) => frame(payload, { opcode, fin: false })
const goOn = (payload: string | Buffer = 'go on') => frame(payload, { opcode: CONTINUATION, fin: false })
const last = (payload: string | Buffer = 'last') => frame(payload, { opcode: CONTINUATION })

/** After frames that `ws` has got already, in a read of their own each. */
function passedAfter (...frames: Buffer[]): PassedFrames {
  const passed = new PassedFrames({ maxPayload: 1000, maxFragments: 5 })
  for (const each of frames) {
    const read = Buffer.from(each)
    passed.follow(read, 0, UP_TO_DATE)
    read.fill(0xff) // what it remembers is no part of the read, which is not kept
  }
  return passed
}

type Verdict = 'fine' | 'doubtful' | 'end'

/** What `ws` makes of a frame: it ends the connection, or may end it, or goes on. `before` it has got already. */
const VERDICTS: [verdict: Verdict, name: string, bytes: Buffer, before?: Buffer[]][] = [
  ['fine', 'a ping', frame('', { opcode: PING })],
  ['fine', 'a pong of 125 bytes', frame(Buffer.alloc(125), { opcode: PONG })],
  ['fine', 'a ping between fragments', frame('ping', { opcode: PING }), [begin()]],
  ['fine', 'a pong between fragments that have the largest size together', frame('pong', { opcode: PONG }), [begin(Buffer.alloc(1000))]],
  ['fine', 'a binary message', frame('binary', { opcode: BINARY })],
  ['fine', 'a message of the largest size', frame(Buffer.alloc(1000), { opcode: BINARY })],
  ['fine', 'the first fragment of a text', begin()],
  ['fine', 'the first fragment of a binary message', begin('begin', BINARY)],
  ['fine', 'a fragment between others', goOn(), [begin()]],
  ['fine', 'the last fragment of a binary message', last(), [begin('begin', BINARY)]],
  ['fine', 'the last fragment with which a message has the largest size', last(Buffer.alloc(300)), [begin(Buffer.alloc(300), BINARY), goOn(Buffer.alloc(400))]],
  ['fine', 'a first fragment after a message of the largest size', begin(Buffer.alloc(1000)), [begin(Buffer.alloc(700), BINARY), last(Buffer.alloc(300))]],
  ['fine', 'the last fragment of another message of the largest size', last(Buffer.alloc(1000)), [begin(Buffer.alloc(1000), BINARY), last(''), begin('', BINARY)]],
  ['fine', 'a text that goes on in the next read', frame('text').subarray(0, -1)],
  ['doubtful', 'a whole text, which would have been taken if it were UTF-8', frame(SPLIT)],
  ['doubtful', 'the last fragment of a text in which a character is split', last(), [begin(SPLIT)]],
  ['doubtful', 'the last fragment of a text that is not UTF-8 itself', last(SPLIT), [begin()]],
  ['doubtful', 'the last fragment of a text after a ping', last(), [begin(SPLIT), frame('', { opcode: PING })]],
  ['fine', 'the last fragment of a text of which each fragment is ASCII', last(), [begin(), goOn()]],
  ['fine', 'the last fragment of a text of which each fragment is UTF-8', last('ü'), [begin('ö'), goOn('ä')]],
  ['doubtful', 'the last fragment of a text, which goes on in the next read', last().subarray(0, -1), [begin(), goOn()]],
  ['end', 'a close frame', closeFrame(1000)],
  ['end', 'a close frame between fragments', closeFrame(1000), [begin()]],
  ['end', 'a message without a mask', frame('text', { isMasked: false })],
  ['end', 'a ping without a mask', frame('ping', { opcode: PING, isMasked: false })],
  ['end', 'a ping of 126 bytes', frame(Buffer.alloc(126), { opcode: PING })],
  ['end', 'a pong of 126 bytes', frame(Buffer.alloc(126), { opcode: PONG })],
  ['end', 'a fragment of a ping', frame('', { opcode: PING, fin: false })],
  ['end', 'a ping with a reserved bit', frame('', { opcode: PING, rsv: 1 })],
  ['end', 'a text with a reserved bit', frame('text', { rsv: 4 })],
  ['end', 'a fragment with a reserved bit', frame('go on', { opcode: CONTINUATION, rsv: 2 }), [begin()]],
  ['end', 'an opcode that is not defined', frame('text', { opcode: 3 })],
  ['end', 'a control opcode that is not defined', frame('', { opcode: 11 })],
  ['end', 'a continuation of nothing', last()],
  ['end', 'a continuation after the last fragment', last(), [begin(), last()]],
  ['end', 'a message within another', frame('text'), [begin()]],
  ['end', 'a first fragment within another message', begin('begin', BINARY), [begin()]],
  ['end', 'a message that is too large', frame(Buffer.alloc(1001), { opcode: BINARY })],
  ['end', 'a message with a size beyond 32 bits', frame('', { opcode: BINARY, declaredSize: 2n ** 32n })],
  ['fine', 'the last fragment that may come', last(), [begin('', BINARY), goOn(), goOn(), goOn()]],
  ['end', 'more fragments than may come', goOn(), [begin(), goOn(), goOn(), goOn(), goOn()]],
  ['end', 'fragments that are too large together', goOn(Buffer.alloc(301)), [begin(Buffer.alloc(300)), goOn(Buffer.alloc(400))]],
  ['end', 'fragments that are too large together, with a ping between them', last(Buffer.alloc(301)), [begin(Buffer.alloc(700)), frame(Buffer.alloc(125), { opcode: PING })]]
]

/** The frame without its mask, which may be another one now. */
function meaningOf (bytes: Buffer) {
  const { mask, ...meaning } = readFrame(bytes) ?? { mask: null }
  return { ...meaning, isMasked: mask !== null }
}

for (const [verdict, name, bytes, before = []] of VERDICTS) {
  const expected = { fine: 'does not wait', doubtful: 'waits while the handler is behind', end: 'waits while the handler is behind, and after it nothing is judged' }[verdict]
  t.test(`follow(): ${name} ${expected}`, async (t) => {
    const chunk = Buffer.concat([Buffer.alloc(2), bytes])
    const passed = passedAfter(...before)
    t.equal(passed.isGivenUp, false)
    if (verdict !== 'fine') {
      for (let i = 0; i < 2; i++) t.equal(passed.follow(chunk, 2, BEHIND), 2)
      t.same(meaningOf(chunk.subarray(2)), meaningOf(bytes), 'what waits means the same')
      t.equal(passed.isGivenUp, false)
    }
    t.equal(passed.follow(chunk, 2, verdict === 'fine' ? BEHIND : UP_TO_DATE), chunk.length)
    t.equal(passed.isGivenUp, verdict === 'end')
    if (verdict !== 'end') return t.same(meaningOf(chunk.subarray(2)), meaningOf(bytes))
    t.same(chunk.subarray(2), bytes)
    t.equal(passed.isFree, false)
    t.equal(passed.follow(chunk, 1, BEHIND), chunk.length, 'all that follows goes on, whatever it is')
  })
}

t.test('follow() tells where each frame ends, and isFree, isMessageDue and isFragment what ws has then', async (t) => {
  const frames: [bytes: Buffer, isFree: boolean, isMessageDue: boolean, isFragment?: boolean][] = [
    [begin('a', BINARY), false, false, true],
    [frame('', { opcode: PING }), false, false],
    [goOn(Buffer.alloc(200)), false, false, true],
    [goOn(''), false, false, true],
    [last('b'), true, true],
    [frame('between', { opcode: PONG }), true, false],
    [frame('whole', { opcode: BINARY }), true, true],
    [begin('', BINARY), false, false, true],
    [last(''), true, true]
  ]
  const passed = passedAfter()
  const chunk = Buffer.concat(frames.map(([bytes]) => bytes))
  let at = 0
  t.match(passed, { isFree: true, isMessageDue: false, isFragment: false })
  for (const [i, [bytes, isFree, isMessageDue, isFragment = false]] of frames.entries()) {
    t.equal(passed.follow(chunk, at, UP_TO_DATE), at += bytes.length, `frame ${i}`)
    t.match(passed, { isFree, isMessageDue, isFragment }, `after frame ${i}`)
  }
})

t.test('a frame that is cut at any byte ends where it ends, and is not complete before', async (t) => {
  for (const payload of ['', 'short', 'of a size with two bytes'.repeat(6)]) {
    const bytes = frame(payload, { opcode: BINARY })
    for (let cut = 1; cut < bytes.length; cut++) {
      const passed = passedAfter(bytes.subarray(0, cut))
      t.match(passed, { isFree: false, isMessageDue: false }, `cut after ${cut} bytes`)
      const rest = Buffer.concat([bytes.subarray(cut), frame('next')])
      t.equal(passed.follow(rest, 0, BEHIND), bytes.length - cut, `cut after ${cut} bytes`)
      t.match(passed, { isFree: true, isMessageDue: true }, `cut after ${cut} bytes`)
    }
  }
})

const byteByByte = (bytes: Buffer) => Array.from(bytes, (byte) => Buffer.from([byte]))

t.test('a header that comes byte by byte is read, also where its frame waits', async (t) => {
  const header = last().subarray(0, 6)
  const passed = passedAfter(begin(), ...byteByByte(header.subarray(0, 5)))
  t.match(passed, { isFree: false, isFragment: false })
  const rest = header.subarray(5)
  for (let i = 0; i < 2; i++) t.equal(passed.follow(rest, 0, BEHIND), 0)
  t.equal(passed.follow(rest, 0, UP_TO_DATE), 1)
  t.equal(passed.isGivenUp, false)
})

t.test('a header for which ws ends the connection waits from the byte on that shows it', async (t) => {
  for (const [bytes, shown] of [
    [closeFrame(1000), 2],
    [frame('', { rsv: 1 }), 2],
    [frame('', { declaredSize: 1001, sizeBytes: 2 }), 4],
    [frame('', { declaredSize: 1001, sizeBytes: 8 }), 10]
  ] as const) {
    const passed = passedAfter(...byteByByte(bytes.subarray(0, shown - 1)))
    t.equal(passed.isGivenUp, false)
    const next = bytes.subarray(shown - 1, shown)
    t.equal(passed.follow(next, 0, BEHIND), 0)
    t.equal(passed.follow(next, 0, UP_TO_DATE), 1)
    t.equal(passed.isGivenUp, true)
  }
})

/** What `ws` gets of a frame that comes in two reads. */
function passedInTwo (bytes: Buffer, cut: number): { parts: [Buffer, Buffer], passed: PassedFrames } {
  const passed = passedAfter()
  const parts: [Buffer, Buffer] = [Buffer.from(bytes.subarray(0, cut)), Buffer.from(bytes.subarray(cut))]
  for (const part of parts) passed.follow(part, 0, UP_TO_DATE)
  return { parts, passed }
}

t.test('the mask of a frame of at least 48 bytes is off, however its payload is cut; a smaller one is left to ws', async (t) => {
  for (const [size, isLeft] of [[47, true], [48, false], [200, false]] as const) {
    const bytes = frame(Buffer.alloc(size, 'payload'), { mask: MASK, opcode: BINARY })
    const header = bytes.length - size
    const without = frame(Buffer.alloc(size, 'payload'), { mask: Buffer.alloc(4), opcode: BINARY })
    for (let cut = header; cut <= bytes.length; cut++) {
      const { parts } = passedInTwo(bytes, cut)
      t.same(Buffer.concat(parts), isLeft ? bytes : without, `${size} bytes, cut after ${cut}`)
    }
    for (let cut = 1; cut < header; cut++) {
      const { parts } = passedInTwo(bytes, cut)
      t.same(Buffer.concat(parts), bytes, `${size} bytes: ws has a part of the header, so it gets the rest as it is`)
    }
  }
})

const ASCII = Buffer.alloc(48, 'ascii')
const WIDE = Buffer.alloc(48, 'zwölf')

/** Whether a message in these frames is known to be ASCII. */
const KNOWN: [isAscii: boolean, name: string, frames: Buffer[]][] = [
  [true, 'a text in one large frame', [frame(ASCII)]],
  [true, 'a text in large fragments', [begin(ASCII), goOn(ASCII), last(ASCII)]],
  [true, 'a text after one that is not ASCII', [begin(WIDE), last(ASCII), begin(ASCII), last(ASCII)]],
  [false, 'a text that is not', [frame(WIDE)]],
  [false, 'a text of which the first fragment is not', [begin(WIDE), last(ASCII)]],
  [false, 'a text of which the last fragment is not', [begin(ASCII), last(WIDE)]],
  [false, 'a text with a first fragment that is left to ws', [begin('ö'), last(ASCII)]],
  [false, 'a text with a last fragment that is left to ws', [begin(ASCII), last('ö')]],
  [false, 'a text with a mask of zeros', [frame(WIDE, { mask: Buffer.alloc(4) })]],
  [false, 'a binary message', [frame(ASCII, { opcode: BINARY })]],
  [false, 'a binary message in fragments', [begin(ASCII, BINARY), last(ASCII)]]
]

for (const [isAscii, name, frames] of KNOWN) {
  t.test(`isAscii is ${isAscii} for ${name}`, async (t) => {
    const passed = passedAfter(...frames)
    t.match(passed, { isMessageDue: true, isAscii })
  })
}

t.test('isAscii takes every read into account that a text comes in', async (t) => {
  const [ascii, wide] = [frame(Buffer.alloc(100, 'a')), frame(Buffer.concat([Buffer.alloc(98, 'a'), Buffer.from('ö')]))]
  for (const cut of [6, 7, 50, 104, 105]) {
    t.match(passedInTwo(ascii, cut).passed, { isMessageDue: true, isAscii: true }, `cut after ${cut} bytes`)
    t.match(passedInTwo(wide, cut).passed, { isMessageDue: true, isAscii: false }, `cut after ${cut} bytes`)
  }
  for (let cut = 1; cut < 6; cut++) t.match(passedInTwo(wide, cut).passed, { isMessageDue: true, isAscii: false }, `cut after ${cut} bytes, in the header`)
})

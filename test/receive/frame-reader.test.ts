import fc from 'fast-check'
import t from 'tap'
import { FrameReader, type FrameLimits, type FrameSink } from '../../lib/receive/frame-reader.js'
import { closeFrame, frame, readAllFrames } from '../fixtures/frames.js'

const [CONTINUATION, TEXT, BINARY, PING, PONG] = [0, 1, 2, 9, 10]
const NO_MASK = Buffer.alloc(4)
const BROKEN = Buffer.from([0x61, 0xc3])

interface Situation extends Partial<FrameLimits> {
  isAwaited?: boolean
  isBehind?: boolean
  /** Whether `ws` emits a message where one is due. */
  emits?: boolean
}

/** A reader whose sink notes what it gets: a message as a text, and what is passed on in hexadecimal digits. */
function newReader ({ isAwaited = false, isBehind = false, emits = true, maxPayload = 70_000, skipUTF8Validation }: Situation = {}) {
  const log: string[] = []
  const sink: FrameSink & { isBehind: boolean } = {
    isAwaited,
    isBehind,
    take: (chunk, start, end, isBinary, isAscii) => { log.push(taken(chunk.subarray(start, end), isBinary, isAscii)) },
    pass: (bytes, isAscii) => {
      log.push(passed(bytes, isAscii))
      return emits
    }
  }
  const reader = new FrameReader(sink, { maxPayload, skipUTF8Validation })
  return { log, sink, reader, read: (bytes: Buffer, hasWaited?: boolean) => reader.read(Buffer.from(bytes), hasWaited) }
}

function taken (payload: string | Buffer, isBinary = false, isAscii = true): string {
  return `${isBinary ? 'binary' : isAscii ? 'ASCII' : 'text'} ${Buffer.from(payload as string).toString('latin1')}`
}

const passed = (bytes: Buffer, isAscii = false) => `${isAscii ? 'passed, ASCII' : 'passed'} ${bytes.toString('hex')}`

/** The frame as `ws` gets it where its mask is off. */
const unmasked = (payload: Buffer, opcode = TEXT, fin = true) => frame(payload, { opcode, fin, mask: NO_MASK })

t.test('read() takes each message that a read has as a whole, whatever its size, its kind and its place in memory', async (t) => {
  for (const size of [0, 1, 2, 46, 47, 48, 49, 124, 125, 126, 127, 1000, 65_535, 65_536, 70_000]) {
    for (let offset = 0; offset < 10; offset++) {
      const { log, reader } = newReader()
      const [ascii, wide] = [Buffer.alloc(size, 'abcdefg'), Buffer.alloc(size, 'abcdefg')]
      if (size > 1) wide.write('ö', size - 2)
      const frames = Buffer.concat([frame(ascii), frame(wide), frame(wide, { opcode: BINARY })])
      const chunk = Buffer.concat([Buffer.alloc(offset), frames]).subarray(offset)
      t.equal(reader.read(chunk), chunk.length)
      t.strictSame(log, [taken(ascii), taken(wide, false, size < 2), taken(wide, true)], `${size} bytes at ${offset}`)
      t.same(chunk, Buffer.concat([unmasked(ascii), unmasked(wide), unmasked(wide, BINARY)]), 'whoever else reads it finds no masks')
    }
  }
})

t.test('read() takes a message whose size has more bytes than it needs, as ws does', async (t) => {
  const { log, read } = newReader()
  read(Buffer.concat([frame('two', { sizeBytes: 2 }), frame('eight', { sizeBytes: 8 })]))
  t.same(log, [taken('two'), taken('eight')])
})

t.test('the sink hears whether a message is known to be ASCII, also of a binary one', async (t) => {
  const heard: boolean[] = []
  const { sink, read } = newReader()
  sink.take = (_chunk, _start, _end, _isBinary, isAscii) => { heard.push(isAscii) }
  for (const payload of ['', 'ascii', 'zwölf', '\x7f', Buffer.alloc(100, 'a'), Buffer.concat([Buffer.alloc(99), Buffer.from([0x80])])]) read(frame(payload, { opcode: BINARY }))
  t.same(heard, [true, true, false, true, true, false])
})

const PING_FRAME = frame('', { opcode: PING })
/** A message in fragments. */
const [A, B, C] = [frame('a', { opcode: BINARY, fin: false }), frame('b', { opcode: CONTINUATION, fin: false }), frame('c', { opcode: CONTINUATION })]

/** What is not taken, and how it is passed on: as it is, if nothing else is said. */
const PASSED: [name: string, bytes: Buffer, ...expected: string[]][] = [
  ['a ping', frame('ping', { opcode: PING })],
  ['a pong', frame('pong', { opcode: PONG })],
  ['a close frame', closeFrame(1000, 'bye')],
  ['a message that is too large', frame(Buffer.alloc(70_001))],
  ['a message without a mask', frame('text', { isMasked: false })],
  ['a large message without a mask', frame(Buffer.alloc(200), { isMasked: false })],
  ...[1, 2, 3, 4, 5, 6, 7].map((rsv): [string, Buffer] => [`a message with the reserved bits ${rsv}`, frame('text', { rsv })]),
  ['a continuation of nothing', frame('text', { opcode: CONTINUATION })],
  ['an opcode that is not defined', frame('text', { opcode: 3 })],
  ['a small text that is not UTF-8', frame(BROKEN), passed(unmasked(BROKEN))],
  ['a large text that is not UTF-8', frame(Buffer.alloc(300, BROKEN)), passed(unmasked(Buffer.alloc(300, BROKEN)))],
  ['the beginning of a small message', frame('text').subarray(0, -1)],
  ['the beginning of a large message', frame(Buffer.alloc(300, 'a')).subarray(0, -1), passed(unmasked(Buffer.alloc(300, 'a')).subarray(0, -1))],
  ['a message in small fragments, which ws gets one by one', Buffer.concat([A, PING_FRAME, B, C]), passed(A), passed(PING_FRAME), passed(B), passed(C)],
  ['a message in large fragments',
    Buffer.concat([frame(Buffer.alloc(48, 'a'), { fin: false }), frame(Buffer.alloc(48, 'b'), { opcode: CONTINUATION })]),
    passed(unmasked(Buffer.alloc(48, 'a'), TEXT, false)), passed(unmasked(Buffer.alloc(48, 'b'), CONTINUATION), true)]
]

for (const [name, bytes, ...expected] of PASSED) {
  t.test(`read() passes on to ws ${name}`, async (t) => {
    const { log, read } = newReader()
    const chunk = Buffer.concat([frame('before'), bytes])
    t.equal(read(chunk), chunk.length)
    t.same(log, [taken('before'), ...expected.length === 0 ? [passed(bytes)] : expected])
  })
}

t.test('read() takes a text that is not UTF-8 where nobody validates that', async (t) => {
  const { log, read } = newReader({ skipUTF8Validation: true })
  read(Buffer.concat([frame(BROKEN), frame('next')]))
  t.same(log, [taken(BROKEN, false, false), taken('next')])
})

t.test('read() takes messages again once ws has nothing under way', async (t) => {
  const { log, read } = newReader()
  read(Buffer.concat([frame('before'), A, PING_FRAME, C, PING_FRAME, frame('after'), PING_FRAME, frame('last')]))
  t.same(log, [taken('before'), passed(A), passed(Buffer.concat([PING_FRAME, C])), passed(PING_FRAME), taken('after'), passed(PING_FRAME), taken('last')])
})

t.test('a fragment that others follow is passed on in memory of its own, because ws keeps it; other frames stay in their read', async (t) => {
  const { sink, reader } = newReader()
  const sizes: number[] = []
  sink.pass = (bytes) => sizes.push(bytes.buffer.byteLength) > 0
  const large = frame(Buffer.alloc(100), { opcode: CONTINUATION, fin: false })
  const read = (...parts: Buffer[]) => {
    const bytes = Buffer.concat(parts)
    const chunk = Buffer.alloc(20_000).subarray(0, bytes.length)
    bytes.copy(chunk)
    reader.read(chunk)
  }
  read(PING_FRAME, A, large.subarray(0, 50))
  read(large.subarray(50), C)
  t.same(sizes, [20_000, A.length, 50, large.length - 50, 20_000])
})

t.test('read() passes a message on that a read has cut at any byte, and takes the next one', async (t) => {
  const messages: [payload: string, sizeBytes?: 2 | 8][] = [[''], ['small'], ['small', 2], ['small', 8], ['medium'.repeat(8)], ['large'.repeat(100)], ['largest'.repeat(9800)]]
  for (const [payload, sizeBytes] of messages) {
    const bytes = frame(payload, sizeBytes && { sizeBytes })
    for (let cut = 1; cut < Math.min(bytes.length, 600); cut++) {
      const { log, read } = newReader()
      read(Buffer.concat([frame('before'), bytes.subarray(0, cut)]))
      read(Buffer.concat([bytes.subarray(cut), frame('after')]))
      t.equal(log.length, 4)
      const [before, ...rest] = log
      t.equal(before, taken('before'))
      t.equal(rest.pop(), taken('after'))
      // ws takes off no mask where it gets a large payload after its header, and then the message is known to be ASCII
      const isUnmasked = payload.length >= 48 && cut >= bytes.length - payload.length
      const hex = (isUnmasked ? unmasked(Buffer.from(payload)) : bytes).toString('hex')
      t.ok(rest.map((each) => each.split(' ').at(-1)).join('') === hex, `cut after ${cut} bytes`)
      t.equal(rest[1]?.startsWith('passed, ASCII'), isUnmasked, `cut after ${cut} bytes`)
    }
  }
})

t.test('after ws has ended the connection, or has not emitted a message that was due, it gets everything as it is', async (t) => {
  const rest = Buffer.concat([frame('after'), frame(Buffer.alloc(300)), frame('', { opcode: PING })])
  for (const [emits, last, expected] of [[true, closeFrame(1000)], [false, frame(BROKEN), unmasked(BROKEN)]] as const) {
    const { log, read } = newReader({ emits, isAwaited: true })
    read(Buffer.concat([last, rest]))
    read(rest)
    const hex = log.map((each) => each.replace('passed ', '')).join('')
    t.equal(hex, Buffer.concat([expected ?? last, rest, rest]).toString('hex'))
  }
})

// What has to wait

const RECEIVES = { isAwaited: true }
const MESSAGE = frame('message')
const BROKEN_TEXT = frame(BROKEN)
const VIOLATION = frame('text', { rsv: 4 })

for (const [name, bytes] of [['a close frame', closeFrame(1000)], ['a violation', VIOLATION], ['a text that is not UTF-8', BROKEN_TEXT], ['a message that is too large', frame(Buffer.alloc(70_001))]] as const) {
  t.test(`read(): ${name} waits behind messages of the same read`, async (t) => {
    const { log, read } = newReader(RECEIVES)
    const chunk = Buffer.concat([MESSAGE, MESSAGE, bytes, MESSAGE])
    t.equal(read(chunk), 2 * MESSAGE.length)
    t.same(log, [taken('message'), taken('message')])
  })
  t.test(`read(): ${name} waits behind messages of an earlier read, unless a receive waits`, async (t) => {
    for (const isBehind of [true, false]) {
      const { log, read } = newReader({ isBehind, isAwaited: true })
      t.equal(read(bytes), isBehind ? 0 : bytes.length)
      t.equal(log.length, isBehind ? 0 : 1)
    }
  })
  t.test(`read(): ${name} does not wait for listeners`, async (t) => {
    const { read } = newReader({ isAwaited: false })
    const chunk = Buffer.concat([MESSAGE, bytes])
    t.equal(read(chunk), chunk.length)
  })
  t.test(`read(): ${name} does not wait twice`, async (t) => {
    const { log, read } = newReader({ isAwaited: true, isBehind: true })
    t.equal(read(bytes, true), bytes.length)
    t.equal(log.length, 1)
  })
}

t.test('read(): what has waited goes on, and what ends the connection behind more messages waits again', async (t) => {
  const { log, read } = newReader({ isAwaited: true, isBehind: true })
  const last = Buffer.concat([A, C])
  const chunk = Buffer.concat([last, MESSAGE, closeFrame(1000)])
  t.equal(read(chunk, true), last.length + MESSAGE.length)
  t.same(log, [passed(A), passed(C), taken('message')])
})

t.test('read(): a ping and a pong never wait, nor does a fragment that is not the last of a text', async (t) => {
  const frames = [PING_FRAME, frame('', { opcode: PONG }), frame('begin', { fin: false }), PING_FRAME, frame('go on', { opcode: CONTINUATION, fin: false })]
  const { read } = newReader({ isAwaited: true, isBehind: true })
  const chunk = Buffer.concat([MESSAGE, ...frames])
  t.equal(read(chunk), chunk.length)
})

t.test('read(): the last fragment of a text in which a character is split waits, because it may not be UTF-8; that of a binary message does not', async (t) => {
  for (const [opcode, waits] of [[TEXT, true], [BINARY, false]] as const) {
    const { log, read } = newReader(RECEIVES)
    const [begin, last] = [frame(BROKEN, { opcode, fin: false }), frame('last', { opcode: CONTINUATION })]
    const chunk = Buffer.concat([MESSAGE, begin, last])
    const end = MESSAGE.length + begin.length
    t.equal(read(chunk), waits ? end : chunk.length)
    t.same(log, [taken('message'), passed(waits ? unmasked(BROKEN, TEXT, false) : begin), ...waits ? [] : [passed(last)]])
    if (!waits) continue
    t.equal(read(last, true), last.length)
    t.same(log.slice(2), [passed(unmasked(Buffer.from('last'), CONTINUATION))])
  }
})

t.test('read(): a message that ws has emitted is one that the handler has to answer first', async (t) => {
  const binary = [frame('begin', { opcode: BINARY, fin: false }), frame('last', { opcode: CONTINUATION })]
  const { read } = newReader(RECEIVES)
  const chunk = Buffer.concat([...binary, closeFrame(1000)])
  t.equal(read(chunk), binary[0]!.length + binary[1]!.length)
})

t.test('read(): a frame that waits is unchanged, and those before it have been passed on', async (t) => {
  const { log, reader } = newReader(RECEIVES)
  const chunk = Buffer.concat([MESSAGE, PING_FRAME, closeFrame(1000, 'bye')])
  const before = Buffer.from(chunk)
  const end = reader.read(chunk)
  t.equal(end, MESSAGE.length + PING_FRAME.length)
  t.same(chunk.subarray(end), before.subarray(end))
  t.same(log, [taken('message'), passed(PING_FRAME)])
})

t.test('read() asks the sink only where a frame may have to wait', async (t) => {
  const { sink, read } = newReader()
  const asked: string[] = []
  for (const name of ['isAwaited', 'isBehind']) Object.defineProperty(sink, name, { get: () => asked.push(name) > 9 })
  read(Buffer.concat([MESSAGE, PING_FRAME, MESSAGE]))
  t.same(asked, [])
  read(closeFrame(1000))
  t.same(asked, ['isBehind'])
})

// Whatever comes

const SIZES = [0, 1, 47, 48, 125, 126, 127, 65_535, 65_536, 70_000]

const stream = fc.record({
  frames: fc.array(fc.record({
    size: fc.oneof(fc.nat(300), fc.constantFrom(...SIZES)),
    mask: fc.uint8Array({ minLength: 4, maxLength: 4 }),
    seed: fc.nat(255),
    kind: fc.constantFrom('text', 'binary', 'fragments', 'ping')
  }), { minLength: 1, maxLength: 12 }),
  cuts: fc.array(fc.nat(), { maxLength: 20 }),
  offset: fc.nat(9) // where a read begins in its memory
})

type FrameOfStream = Parameters<Parameters<typeof stream.map>[0]>[0]['frames'][number]

function framesOf ({ size, mask, seed, kind }: FrameOfStream): Buffer[] {
  const ascii = Buffer.from(Array.from({ length: size }, (_, i) => (i * 31 + seed) & 0x7f))
  if (kind === 'text') return [frame(ascii, { mask })]
  if (kind === 'ping') return [frame(ascii.subarray(0, 125), { mask, opcode: PING })]
  const bytes = Buffer.from(ascii.map((byte) => byte * 3))
  if (kind === 'binary') return [frame(bytes, { mask, opcode: BINARY })]
  const cut = seed % (size + 1)
  return [frame(bytes.subarray(0, cut), { mask, opcode: BINARY, fin: false }), frame(bytes.subarray(cut), { mask, opcode: CONTINUATION })]
}

const meaningOf = (bytes: Buffer) => readAllFrames(bytes).map(({ opcode, payload }) => `${opcode} ${payload.toString('latin1')}`)

t.test('read() keeps every payload and their order however the bytes are split, and does not change what is around a read', async (t) => {
  let takenCount = 0
  fc.assert(fc.property(stream, ({ frames, cuts, offset }) => {
    const bytes = Buffer.concat(frames.flatMap(framesOf))
    const seen: Buffer[] = []
    const reader = new FrameReader({
      isAwaited: false,
      isBehind: false,
      take (chunk, start, end, isBinary, isAscii) {
        takenCount++
        const payload = Buffer.from(chunk.subarray(start, end))
        if (payload.every((byte) => byte < 0x80) !== isAscii) throw new Error('it is not told what is ASCII')
        seen.push(frame(payload, { opcode: isBinary ? BINARY : TEXT }))
      },
      pass: (bytes) => seen.push(Buffer.from(bytes)) > 0
    }, { maxPayload: 70_000 })
    const places = [0, ...cuts.map((cut) => cut % bytes.length).sort((a, b) => a - b), bytes.length]
    for (const [i, to] of places.slice(1).entries()) {
      const part = bytes.subarray(places[i], to)
      const memory = Buffer.from(new ArrayBuffer(offset + part.length + 3)).fill(0xee)
      const chunk = memory.subarray(offset, offset + part.length)
      part.copy(chunk)
      if (reader.read(chunk) !== chunk.length) throw new Error('it waits')
      if ([...memory.subarray(0, offset), ...memory.subarray(offset + part.length)].some((byte) => byte !== 0xee)) throw new Error('it changes what is around the read')
    }
    const [expected, now] = [meaningOf(bytes), meaningOf(Buffer.concat(seen))]
    if (now.length !== expected.length || now.some((each, i) => each !== expected[i])) throw new Error('there are other frames')
  }), { numRuns: 500 })
  t.ok(takenCount > 500)
})

t.test('read() does not throw on bytes that are no frames, and comes to their end', async (t) => {
  fc.assert(fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 100 }), { maxLength: 50 }), fc.boolean(), (chunks, isBehind) => {
    const { read } = newReader({ isAwaited: true, isBehind })
    for (const each of chunks) {
      const chunk = Buffer.from(each)
      let at = read(chunk)
      for (let turns = 0; at < chunk.length; turns++) {
        if (turns > chunk.length) throw new Error('it waits for ever')
        at += read(chunk.subarray(at), true)
      }
    }
  }), { numRuns: 3000 })
  t.pass('nothing is thrown')
})

t.test('read(): after a listener has thrown nothing more is read, because the rest of that read is lost', async (t) => {
  const { sink, log, read } = newReader()
  const { take } = sink
  sink.take = () => { throw new Error('of a listener') }
  t.throws(() => read(Buffer.concat([MESSAGE, frame('cut').subarray(0, -1)])), { message: 'of a listener' })
  sink.take = take
  const rest = frame('in the middle of a payload')
  t.equal(read(rest), rest.length)
  t.same(log, [])
})

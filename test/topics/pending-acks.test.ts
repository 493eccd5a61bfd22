import { install } from '@sinonjs/fake-timers'
import t, { type Test } from 'tap'
import { NoAnswerError, Questions } from '../../lib/topics/pending-acks.js'

function fakeClock (t: Test) {
  const clock = install({ toFake: ['setInterval', 'clearInterval'] })
  t.teardown(() => { clock.uninstall() })
  return clock
}

/** A question, what was answered, and what it came to. */
function ask (questions: Questions) {
  const asked = { answer: (_error?: unknown) => {}, late: [] as unknown[], result: undefined as Error | null | undefined }
  questions.ask((answer) => { asked.answer = answer }, (error) => asked.late.push(error)).then((result) => { asked.result = result })
  return asked
}

t.test('an answer is the result, also where it is an error or thrown', async (t) => {
  const clock = fakeClock(t)
  const questions = new Questions()
  const [yes, no] = [ask(questions), ask(questions)]
  yes.answer()
  no.answer(new Error('no'))
  yes.answer(new Error('a second answer is none'))
  t.match(await questions.ask(() => { throw new Error('thrown') }), { message: 'thrown' })
  t.equal(yes.result, null)
  t.match(no.result, { message: 'no' })
  t.same([yes.late.length, no.late.length], [1, 1])
  t.equal(clock.countTimers(), 0)
})

t.test('without an answer there is a result after two seconds, and a late one is still told', async (t) => {
  const clock = fakeClock(t)
  const questions = new Questions()
  const first = ask(questions)
  await clock.tickAsync(200)
  const second = ask(questions)
  await clock.tickAsync(2000)
  t.same([first.result, second.result], [undefined, undefined])
  await clock.tickAsync(50)
  t.type(first.result, NoAnswerError)
  t.type(second.result, NoAnswerError)
  first.answer()
  t.same(first.late, [null])
  t.equal(clock.countTimers(), 0)
})

t.test('a process that was busy hears the answers first that came meanwhile', async (t) => {
  const clock = fakeClock(t)
  const questions = new Questions()
  const asked = ask(questions)
  for (let i = 0; i < 8; i++) clock.jump(60_000)
  await null
  t.equal(asked.result, undefined)
  clock.jump(60_000)
  await null
  t.type(asked.result, NoAnswerError)
})

t.test('at the end every question has a result', async (t) => {
  const clock = fakeClock(t)
  const questions = new Questions()
  const asked = Array.from({ length: 3 }, () => ask(questions))
  questions.end(new Error('the end'))
  await null
  for (const { result } of asked) t.match(result, { message: 'the end' })
  t.equal(clock.countTimers(), 0)
})

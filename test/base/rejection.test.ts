import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { rejectWith } from '../../lib/base/rejection.js'

const mistake = new Error('a mistake')

async function reportsOf (use: (rejection: Promise<never>) => unknown): Promise<unknown[]> {
  const reports: unknown[] = []
  const outcome = use(rejectWith(mistake, (error) => reports.push(error)))
  await nextTurn()
  await outcome
  return reports
}

t.test('a rejection that nobody awaits is reported, and is not an unhandled rejection', async (t) => {
  t.same(await reportsOf(() => {}), [mistake])
})

t.test('a rejection that is awaited rejects its caller, and is not reported', async (t) => {
  const ways: Record<string, (rejection: Promise<never>) => Promise<unknown>> = {
    await: async (rejection) => { await rejection },
    return: async (rejection) => rejection,
    'catch()': (rejection) => rejection.catch((error) => { throw error }),
    'then()': (rejection) => rejection.then(() => {}),
    'finally()': (rejection) => rejection.finally(() => {}),
    'Promise.all()': (rejection) => Promise.all([rejection]),
    'Promise.race()': (rejection) => Promise.race([rejection]),
    'Promise.allSettled()': async (rejection) => {
      const [{ reason }] = await Promise.allSettled([rejection]) as [PromiseRejectedResult]
      throw reason
    }
  }
  for (const [name, wait] of Object.entries(ways)) {
    t.same(await reportsOf((rejection) => t.rejects(wait(rejection), mistake, name)), [], name)
  }
})

t.test('a rejection that is awaited after it was reported still rejects', async (t) => {
  const rejection = rejectWith(mistake, () => {})
  await nextTurn()
  await t.rejects(rejection, mistake)
})

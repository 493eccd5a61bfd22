/** Which of two servers needs less, and by which figure. */
import type { InstructionRow } from '../measure/instructions.js'
import type { Spread } from '../measure/statistics.js'

/** Two counts that are closer than this share are equal: each is exact to some 0.3 %. */
const EQUAL = 0.005

/** The spread of a ratio of instructions: two standard errors on each side, at least what a ratio of two counts is exact to. */
export function instructionSpread ({ ratio, error }: InstructionRow): Spread {
  const margin = ratio * Math.max(EQUAL, 2 * error)
  return { median: ratio, lower: ratio - margin, upper: ratio + margin }
}

/** Nearer to 1 than this, a ratio of CPU times may be on the other side of it in the next run. */
const NEAR = 0.05

/** The CPU time decides where its ratio is clearly not 1. Else the instructions do, if they were counted. */
export function verdict (time: Spread | undefined, count: InstructionRow | undefined): string {
  const counted = count?.isSteady === true ? `${decision(instructionSpread(count))}, by instructions` : undefined
  if (time === undefined) return counted ?? ''
  const byTime = decision(time)
  const isNear = byTime === 'equal' || Math.abs(time.median - 1) < NEAR
  if (isNear) return counted ?? 'near 1: count instructions'
  return `${byTime}, by time`
}

function decision ({ lower, upper }: Spread): 'less' | 'more' | 'equal' {
  if (lower > 1) return 'less'
  return upper < 1 ? 'more' : 'equal'
}

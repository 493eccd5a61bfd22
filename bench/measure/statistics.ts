/** A median with its spread: half of the values lie between the quartiles `lower` and `upper`. */
export interface Spread {
  readonly median: number
  readonly lower: number
  readonly upper: number
}

export function spreadOf (values: readonly number[]): Spread {
  return { median: median(values), lower: quantile(values, 0.25), upper: quantile(values, 0.75) }
}

/** Whether two spreads have no value in common. */
export function areApart (a: Spread, b: Spread): boolean {
  return a.upper < b.lower || b.upper < a.lower
}

/** The median, or `NaN` if there are no values. */
export function median (values: readonly number[]): number {
  return quantile(values, 0.5)
}

// Between two values it is interpolated
function quantile (values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const place = share * (sorted.length - 1)
  const [lower = NaN, upper = NaN] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]]
  return lower + (upper - lower) * (place - Math.floor(place))
}

export function mean (values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

export function standardError (values: readonly number[]): number {
  const centre = mean(values)
  const squares = values.map((value) => (value - centre) ** 2)
  return Math.sqrt(mean(squares) / Math.max(1, values.length - 1))
}

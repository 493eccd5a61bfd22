import type { Result } from '../measure/measure.js'
import { BASE, type ServerName } from '../scenarios.js'

const BARS: readonly { readonly server: ServerName, readonly colour: string }[] = [
  { server: 'ours', colour: '#3b82f6' },
  { server: 'event, corked', colour: '#d08a1d' }
]
const LABELS = 220 // px, as are the other sizes
const WIDTH = 760
const BAR = 12
const GROUP = BARS.length * BAR + 14
const TOP = 56

/** Draws as bars how much less CPU a message costs than with the base, whose bar is 1, and as lines the spread. The chart has no background. */
export function chart (results: readonly Result[]): string {
  const ratios = results.flatMap(({ rows }) => rows.filter(isShown).map(({ cpuRatio }) => cpuRatio.upper))
  const max = Math.ceil(Math.max(1.5, ...ratios) * 2) / 2
  const scale = (ratio: number) => ratio / max * (WIDTH - LABELS - 60)
  const height = TOP + results.length * GROUP + 30
  const one = LABELS + scale(1)
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="system-ui, sans-serif" font-size="12">
<style>text { fill: #57606a } line { stroke: #57606a } @media (prefers-color-scheme: dark) { text { fill: #b1bac4 } line { stroke: #b1bac4 } }</style>
<text x="0" y="16" font-size="14" font-weight="600">Messages for the CPU that one costs with @fastify/websocket (more is better), and the quartiles</text>
${legend()}
${results.map((result, i) => group(result, TOP + i * GROUP, scale)).join('\n')}
<line x1="${px(one)}" x2="${px(one)}" y1="${TOP - 6}" y2="${height - 24}" stroke-dasharray="3 3"/>
<text x="${px(one)}" y="${height - 8}" text-anchor="middle">${BASE} = 1</text>
</svg>
`
}

function isShown ({ server }: { server: ServerName }): boolean {
  return BARS.some((bar) => bar.server === server)
}

function legend (): string {
  return BARS.map(({ server, colour }, i) => {
    const x = LABELS + i * 120
    return `<rect x="${x}" y="28" width="10" height="10" fill="${colour}"/><text x="${x + 16}" y="37">${server}</text>`
  }).join('\n')
}

function group ({ scenario, rows }: Result, y: number, scale: (ratio: number) => number): string {
  const bars = BARS.flatMap(({ server, colour }, i) => {
    const row = rows.find((row) => row.server === server)
    if (row === undefined) return []
    const top = y + i * BAR
    const { median, lower, upper } = row.cpuRatio
    const width = scale(median)
    const middle = top + BAR / 2 - 1
    return [
      `<rect x="${LABELS}" y="${top}" width="${px(width)}" height="${BAR - 2}" fill="${colour}"/>`,
      `<line x1="${px(LABELS + scale(lower))}" x2="${px(LABELS + scale(upper))}" y1="${middle}" y2="${middle}" stroke-width="2"/>`,
      `<text x="${px(LABELS + scale(Math.max(median, upper)) + 6)}" y="${top + BAR - 3}" font-size="10">${median.toFixed(2)}</text>`
    ]
  })
  return [`<text x="${LABELS - 10}" y="${y + BAR + 3}" text-anchor="end">${scenario}</text>`, ...bars].join('\n')
}

function px (value: number): string {
  return value.toFixed(1)
}

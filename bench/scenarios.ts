export const OURS = ['ours', 'ours, timeout', 'ours, for await', 'ours, tryReceive'] as const
export const BASE = 'event'
export const SERVERS = [BASE, ...OURS, 'event, corked', 'ws', 'net', 'uws', 'bun', 'deno'] as const
export type ServerName = typeof SERVERS[number]

export type Path = '/echo' | '/burst' | '/fan-out' | '/idle'

/** How many messages a server sends for each that comes to `/burst`. */
export const BURST = 100
export const BURST_TEXT = '12345678901234567890'

export interface Scenario {
  readonly name: string
  readonly kind: 'exchange' | 'fan-out' | 'upgrades'
  readonly path: Path
  readonly connections: number
  /** Messages that a connection sends in one write, before it waits for all the replies. */
  readonly depth: number
  /** The size of a message that is sent, in bytes. */
  readonly size: number
  readonly isCompressed: boolean
  readonly isEncrypted: boolean
  /** The number of further connections, which read nothing. */
  readonly stalled: number
  readonly servers: readonly ServerName[]
  readonly isQuick: boolean
  /** Whether `--instructions` alone counts it. */
  readonly isCounted: boolean
}

const PLAIN_ECHO: readonly ServerName[] = [BASE, 'ours', 'ours, tryReceive', 'event, corked', 'ws', 'net', 'uws', 'bun', 'deno']
const EVERY_ECHO = SERVERS
const LIBRARIES: readonly ServerName[] = [BASE, 'ours', 'event, corked', 'ws', 'uws']
const COMPRESSING: readonly ServerName[] = [BASE, 'ours', 'event, corked', 'ws']

const DEFAULTS = { kind: 'exchange', path: '/echo', depth: 1, isCompressed: false, isEncrypted: false, stalled: 0, servers: PLAIN_ECHO, isQuick: false, isCounted: false } as const

/** The simplest scenario. */
export const SMALL_ECHO: Scenario = { ...DEFAULTS, name: '64 × 1 × 20 B', connections: 64, size: 20, servers: EVERY_ECHO, isQuick: true, isCounted: true }

export const SCENARIOS: readonly Scenario[] = [
  SMALL_ECHO,
  { ...DEFAULTS, name: '64 × 1 × 1 KiB', connections: 64, size: 1024, isCounted: true },
  { ...DEFAULTS, name: '64 × 1 × 16 KiB', connections: 64, size: 16 * 1024, isCounted: true },
  { ...DEFAULTS, name: '16 × 1 × 64 KiB', connections: 16, size: 64 * 1024, isCounted: true },
  { ...DEFAULTS, name: '16 × 16 × 125 B', connections: 16, depth: 16, size: 125, servers: EVERY_ECHO, isQuick: true, isCounted: true },
  { ...DEFAULTS, name: '16 × 64 × 20 B', connections: 16, depth: 64, size: 20, servers: EVERY_ECHO, isQuick: true, isCounted: true },
  { ...DEFAULTS, name: '16 × 64 × 1 KiB', connections: 16, depth: 64, size: 1024, isCounted: true },
  { ...DEFAULTS, name: 'burst, 100 × 20 B', path: '/burst', connections: 16, size: 20, servers: LIBRARIES, isQuick: true },
  { ...DEFAULTS, name: 'fan-out to 1,000, 1 × 125 B', kind: 'fan-out', path: '/fan-out', connections: 1000, size: 125, servers: LIBRARIES },
  { ...DEFAULTS, name: 'fan-out to 1,000, 16 × 125 B', kind: 'fan-out', path: '/fan-out', connections: 1000, depth: 16, size: 125, servers: LIBRARIES, isQuick: true },
  { ...DEFAULTS, name: 'fan-out to 10,000, 1 × 125 B', kind: 'fan-out', path: '/fan-out', connections: 10_000, size: 125, servers: LIBRARIES },
  { ...DEFAULTS, name: 'fan-out to 100, 1 × 16 KiB', kind: 'fan-out', path: '/fan-out', connections: 100, size: 16 * 1024, servers: LIBRARIES },
  { ...DEFAULTS, name: 'fan-out to 100, 1 × 16 KiB, and to one that does not read', kind: 'fan-out', path: '/fan-out', connections: 100, size: 16 * 1024, stalled: 1, servers: LIBRARIES },
  { ...DEFAULTS, name: 'compressed, 64 × 1 × 1 KiB', connections: 64, size: 1024, isCompressed: true, servers: COMPRESSING },
  { ...DEFAULTS, name: 'compressed, 16 × 64 × 125 B', connections: 16, depth: 64, size: 125, isCompressed: true, servers: COMPRESSING },
  { ...DEFAULTS, name: 'TLS, 64 × 1 × 20 B', connections: 64, size: 20, isEncrypted: true, servers: LIBRARIES },
  { ...DEFAULTS, name: 'TLS, 16 × 1 × 64 KiB', connections: 16, size: 64 * 1024, isEncrypted: true, servers: LIBRARIES },
  { ...DEFAULTS, name: 'TLS, 16 × 16 × 125 B', connections: 16, depth: 16, size: 125, isEncrypted: true, servers: LIBRARIES },
  { ...DEFAULTS, name: 'TLS, fan-out to 1,000, 1 × 125 B', kind: 'fan-out', path: '/fan-out', connections: 1000, size: 125, isEncrypted: true, servers: LIBRARIES },
  { ...DEFAULTS, name: 'TLS, fan-out to 1,000, 2 × 125 B', kind: 'fan-out', path: '/fan-out', connections: 1000, depth: 2, size: 125, isEncrypted: true, servers: LIBRARIES },
  { ...DEFAULTS, name: 'upgrades, 16 at a time', kind: 'upgrades', path: '/idle', connections: 16, size: 0, servers: LIBRARIES, isCounted: true }
]

/** How many messages come back for one batch of one connection. In a fan-out it counts those of all connections. */
export function repliesOf ({ kind, path, connections, depth }: Scenario): number {
  if (kind === 'fan-out') return depth * connections
  return path === '/burst' ? depth * BURST : depth
}

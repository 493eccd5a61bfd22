import type { Measurement, Task } from '../load/load.js'
import type { Processes } from '../processes/processes.js'
import { median, spreadOf, type Spread } from './statistics.js'
import { BASE, type Scenario, type ServerName } from '../scenarios.js'

export interface Timing {
  readonly rounds: number
  /** In ms for each scenario: once it has passed, no further round begins. The first round always runs. */
  readonly budget: number
  readonly warmUp: number
  readonly window: number
}

/** The result of one server. Each figure is the median of its rounds. */
export interface Row {
  readonly server: ServerName
  readonly rate: number
  /** The rate divided by that of the base in the same round. For this ratio and `cpuRatio` more is better. */
  readonly rateRatio: Spread
  readonly cpu: number
  readonly cpuRatio: Spread
  readonly p50: number
  readonly p99: number
  /** The share of its CPU that the generator used. Near 1, the generator limits the rate. */
  readonly loadShare: number
  /** The share of the time in which another process had the CPU of the server or of the generator. */
  readonly waitShare: number
  readonly rounds: readonly Measurement[]
}

export interface Result {
  readonly scenario: string
  readonly unit: 'message' | 'upgrade'
  readonly rows: readonly Row[]
}

type Round = ReadonlyMap<ServerName, Measurement>

/** Measures the servers in turn, in rounds, so that other work on the machine slows all of them. Only ratios within a round are compared. */
export async function measureScenario (processes: Processes, scenario: Scenario, servers: readonly ServerName[], timing: Timing): Promise<Result> {
  for (const name of servers) {
    const { port } = await processes.server(name, scenario)
    await processes.load.ask('verify', { scenario, port })
  }
  const rounds: Round[] = []
  const end = performance.now() + timing.budget
  for (let i = 0; i < timing.rounds && (i === 0 || performance.now() < end); i++) {
    const order = i % 2 === 0 ? servers : servers.toReversed()
    rounds.push(await measureRound(processes, scenario, order, timing))
  }
  const unit = scenario.kind === 'upgrades' ? 'upgrade' : 'message'
  return { scenario: scenario.name, unit, rows: servers.map((server) => toRow(server, rounds)) }
}

async function measureRound (processes: Processes, scenario: Scenario, order: readonly ServerName[], { warmUp, window }: Timing): Promise<Round> {
  const round = new Map<ServerName, Measurement>()
  for (const name of order) {
    const server = await processes.server(name, scenario)
    const task: Task = { scenario, port: server.port, pid: server.process.pid, warmUp, window }
    round.set(name, await processes.load.ask('measure', task))
  }
  return round
}

function toRow (server: ServerName, rounds: readonly Round[]): Row {
  const own = rounds.map((round) => measured(round, server))
  const base = rounds.map((round) => measured(round, BASE))
  const medianOf = (figure: (own: Measurement) => number) => median(own.map(figure))
  const spreadOfRatio = (figure: (own: Measurement, base: Measurement) => number) =>
    spreadOf(own.map((each, i) => figure(each, base[i] ?? each)))
  return {
    server,
    rate: medianOf(({ rate }) => rate),
    rateRatio: spreadOfRatio((own, base) => own.rate / base.rate),
    cpu: medianOf(({ cpu }) => cpu),
    cpuRatio: spreadOfRatio((own, base) => base.cpu / own.cpu),
    p50: median(own.flatMap(({ p50 }) => p50 ?? [])),
    p99: median(own.flatMap(({ p99 }) => p99 ?? [])),
    loadShare: medianOf(({ ownShare }) => ownShare),
    waitShare: medianOf(({ waitShare }) => waitShare),
    rounds: own
  }
}

function measured (round: Round, server: ServerName): Measurement {
  const measurement = round.get(server)
  if (measurement === undefined) throw new Error(`${server} was not measured`)
  return measurement
}

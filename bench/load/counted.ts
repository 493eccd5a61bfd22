/** Exchanges of a fixed number of messages, for servers whose instructions are counted. */
import { connectAll, Connection, endAll, lossOf } from './client.js'
import { Meter, newExchanges, type Exchange } from './exchange.js'
import type { Scenario } from '../scenarios.js'

export interface Target {
  readonly scenario: Scenario
  readonly port: number
}

export interface CountedTarget extends Target {
  /** The process of the server. */
  readonly pid: number
}

interface Session extends CountedTarget {
  readonly connections: readonly Connection[]
  readonly exchanges: readonly Exchange[]
  readonly meter: Meter
  readonly failure: Promise<never>
}

let session: Session | null = null

/** Opens the connections of a scenario and holds them until `close()`. */
export async function open ({ scenario, port, pid }: CountedTarget): Promise<void> {
  const count = scenario.kind === 'upgrades' ? 0 : scenario.connections
  const connections = await connectAll(count, port, scenario.path, scenario)
  const meter = new Meter(scenario)
  const exchanges = newExchanges(scenario, connections, meter)
  session = { scenario, port, pid, connections, exchanges, meter, failure: lossOf(connections) }
}

/** Sends so many batches on each connection, or makes so many upgrades in each place. Resolves to how many messages came back. */
export async function exchange ({ batches }: { batches: number }): Promise<number> {
  if (session === null) throw new Error('No connections are open')
  const { scenario, meter } = session
  if (scenario.kind === 'upgrades') return await upgrade(session, batches)
  const before = meter.messages
  for (let i = 0; i < batches; i++) await exchangeOnce(session)
  return meter.messages - before
}

// The server stands still while the batches are sent, so it finds those of all connections in one turn of its event loop. Otherwise the
// number of turns, and with it the count, would depend on how busy the machine is
async function exchangeOnce ({ pid, exchanges, failure }: Session): Promise<void> {
  process.kill(pid, 'SIGSTOP')
  const answered = Promise.all(exchanges.map((each) => each.run(1)))
  process.kill(pid, 'SIGCONT')
  await Promise.race([answered, failure])
}

async function upgrade (target: Target, count: number): Promise<number> {
  const places = target.scenario.connections
  await Promise.all(Array.from({ length: places }, async () => {
    for (let i = 0; i < count; i++) await upgradeOnce(target)
  }))
  return places * count
}

/** Opens a connection and cuts it off. */
export async function upgradeOnce ({ scenario, port }: Target): Promise<void> {
  const connection = new Connection(port, scenario.path, scenario)
  await connection.opened
  connection.destroy()
}

export async function close (): Promise<void> {
  const open = session
  session = null
  if (open !== null) await endAll(open.connections)
}

/** Measures this plugin against `@fastify/websocket` and other servers. Linux only, because CPU times come from /proc. */
import { existsSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { chart } from './report/chart.js'
import { measureScenario, type Timing } from './measure/measure.js'
import { countInstructions, type CountPlan } from './measure/instructions.js'
import { mayHold, measureMemory, MEMORY_SERVERS } from './measure/memory.js'
import { findProgram, missingPackage, Processes, ROOT } from './processes/processes.js'
import { keep, readKept } from './report/kept.js'
import { markdown } from './report/markdown.js'
import { headerText, INSTRUCTION_LEGEND, instructionText, LEGEND, memoryText, newReport, resultText, syscallText, type Report } from './report/report.js'
import { BASE, SCENARIOS, SERVERS, type Scenario, type ServerName } from './scenarios.js'
import { measureSyscalls } from './measure/syscalls.js'

const COUNTED: readonly ServerName[] = [BASE, 'ours', 'ours, tryReceive']
const COUNT_PLAN: CountPlan = { window: 250e6, steady: 4, most: 14 }
const QUICK_COUNT_PLAN: CountPlan = { window: 20e6, steady: 2, most: 3 }

const USAGE = `npm run bench -- [options]
  --quick         the main scenarios with few rounds: less than a minute
  --rounds N      how often each server is measured in each scenario (7)
  --only TEXT     only the scenarios whose name contains TEXT; 'memory' is one
  --servers A,B   only these of ${SERVERS.map((name) => `'${name}'`).join(', ')}; '${BASE}' is always measured
                  ('uws', 'bun' and 'deno' need: npm install --no-save uwebsockets bun deno)
  --bufferutil    lets ws use bufferutil
  --syscalls      only counts system calls, with strace
  --instructions  only counts instructions for each message, with valgrind: ten minutes or more, also exact on a busy machine.
                  It takes --only and --servers (without: ${COUNTED.map((name) => `'${name}'`).join(', ')}), and --quick, which is inexact
  --markdown      only prints the last result as the table of the README`

interface Settings {
  readonly isQuick: boolean
  readonly timing: Timing
  readonly only: string
  readonly servers: readonly ServerName[]
  readonly usesBufferutil: boolean
  readonly onlySyscalls: boolean
  readonly onlyInstructions: boolean
  readonly onlyMarkdown: boolean
}

const QUICK_SERVERS: readonly ServerName[] = [BASE, 'ours', 'event, corked']
const QUICK_BUDGET = 5_000 // ms for each scenario, so that the whole takes less than a minute even on a busy machine
const MEMORY = 'memory'
const RESULTS = join(import.meta.dirname, 'results')
const LATEST = join(RESULTS, 'latest.json')
const kept = readKept(LATEST)

function readSettings (): Settings {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      only: { type: 'string', default: '' },
      servers: { type: 'string' },
      bufferutil: { type: 'boolean', default: false },
      syscalls: { type: 'boolean', default: false },
      instructions: { type: 'boolean', default: false },
      markdown: { type: 'boolean', default: false }
    }
  })
  const { quick, only, bufferutil, syscalls, instructions, markdown: onlyMarkdown } = values
  const rounds = Number(values.rounds ?? (quick ? 3 : 7))
  if (!Number.isSafeInteger(rounds) || rounds < 1) throw new TypeError(`--rounds takes a positive number, not ${values.rounds}`)
  if (![...SCENARIOS.map(({ name }) => name), MEMORY].some((name) => name.includes(only))) {
    throw new TypeError(`--only takes a part of ${[...SCENARIOS.map(({ name }) => `'${name}'`), MEMORY].join(', ')}, not '${only}'`)
  }
  return {
    isQuick: quick,
    timing: { rounds, budget: quick ? QUICK_BUDGET : Infinity, warmUp: quick ? 200 : 250, window: quick ? 300 : 600 },
    only,
    servers: values.servers === undefined ? defaultServers(values) : readServers(values.servers),
    usesBufferutil: bufferutil,
    onlySyscalls: syscalls,
    onlyInstructions: instructions,
    onlyMarkdown
  }
}

function defaultServers ({ quick, instructions }: { quick: boolean, instructions: boolean }): readonly ServerName[] {
  if (instructions) return COUNTED
  return quick ? QUICK_SERVERS : SERVERS
}

// A name may contain a comma with a space after it: 'ours, timeout' is one name, 'ours,timeout' is two
function readServers (text: string): ServerName[] {
  const names = text.split(/,(?! )/)
  const unknown = names.filter((name) => !SERVERS.some((each) => each === name))
  if (unknown.length > 0) throw new TypeError(`--servers takes ${SERVERS.join(' | ')}, not ${unknown.join(' | ')}`)
  return SERVERS.filter((name) => name === BASE || names.includes(name))
}

/** The servers whose programs and packages are installed. */
function present (servers: readonly ServerName[]): ServerName[] {
  return servers.filter((name) => {
    const missing = missingPackage(name)
    if (missing !== null) say(`${name} is left out because it is not installed: npm install --no-save ${missing}`)
    return missing === null
  })
}

function serverEnvironment ({ usesBufferutil }: Settings): NodeJS.ProcessEnv {
  if (!usesBufferutil) return { WS_NO_BUFFER_UTIL: '1' }
  try {
    createRequire(import.meta.url).resolve('bufferutil')
  } catch {
    throw new Error('--bufferutil needs: npm install --no-save bufferutil')
  }
  return {}
}

// A whole name means that scenario alone, although the same words may be in the names of others
function wantedScenarios ({ only, isQuick, onlyInstructions }: Settings): readonly Scenario[] {
  const named = SCENARIOS.filter(({ name }) => name === only)
  if (named.length > 0) return named
  if (only !== '') return SCENARIOS.filter(({ name }) => name.includes(only))
  if (onlyInstructions) return SCENARIOS.filter(({ isCounted }) => isCounted)
  return SCENARIOS.filter((scenario) => scenario.isQuick || !isQuick)
}

async function runScenarios (processes: Processes, settings: Settings, report: Report): Promise<void> {
  const { timing } = settings
  const servers = present(settings.servers)
  for (const scenario of wantedScenarios(settings)) {
    const result = await measureScenario(processes, scenario, servers.filter((name) => scenario.servers.includes(name)), timing)
    report.results.push(result)
    say(resultText(result, kept, report))
  }
}

async function runMemory (processes: Processes, { isQuick, only, servers, timing }: Settings, report: Report): Promise<void> {
  if (!MEMORY.includes(only)) return
  const rounds = isQuick ? 1 : Math.min(3, timing.rounds)
  for (const connections of isQuick ? [1_000] : [1_000, 10_000]) {
    if (!mayHold(connections)) {
      say(`\nmemory at ${connections} connections is left out: raise the limit of open files (ulimit -n)`)
      continue
    }
    const result = await measureMemory(processes, servers.filter((name) => MEMORY_SERVERS.includes(name)), connections, rounds)
    report.memory.push(result)
    say(memoryText(result))
  }
}

async function runSyscalls (processes: Processes, report: Report): Promise<void> {
  const strace = findProgram('strace')
  if (strace === null) return say('--syscalls needs strace, which is not installed')
  for await (const result of measureSyscalls(processes, strace)) {
    report.syscalls.push(result)
    say(syscallText(result))
  }
}

async function runInstructions (processes: Processes, settings: Settings, report: Report): Promise<void> {
  const [valgrind, vgdb] = [findProgram('valgrind'), findProgram('vgdb')]
  if (valgrind === null || vgdb === null) return say('--instructions needs valgrind, which is not installed')
  say(INSTRUCTION_LEGEND)
  const servers = present(settings.servers).filter((name) => isCountable(name) || say(`${name} is left out because it does not run under valgrind`))
  const plan = settings.isQuick ? QUICK_COUNT_PLAN : COUNT_PLAN
  for (const scenario of wantedScenarios(settings)) {
    const result = await countInstructions(processes, { valgrind, vgdb }, scenario, servers.filter((name) => scenario.servers.includes(name)), plan)
    report.instructions.push(result)
    say(instructionText(result, kept, report))
  }
}

function isCountable (name: ServerName): boolean {
  return name !== 'bun' && name !== 'deno'
}

// The figures of --quick are too coarse to compare with
function save (report: Report, { isQuick }: Settings): void {
  if (isQuick) return say('\nThe figures of --quick are not kept')
  keep(LATEST, kept, report)
  say('\nbench/results/latest.json')
  if (report.results.length === 0) return
  writeFileSync(join(RESULTS, 'latest.svg'), chart(report.results))
  say('bench/results/latest.svg')
}

function say (text: string): void {
  process.stdout.write(`${text}\n`)
}

function fail (text: string): void {
  process.stderr.write(`${text}\n`)
  process.exitCode = 1
}

async function main (settings: Settings): Promise<void> {
  if (settings.onlyMarkdown) return say(markdown(kept))
  if (!existsSync('/proc/self/schedstat')) return fail('CPU times are read from /proc/<pid>/task/*/schedstat, which does not exist on this machine')
  if (!existsSync(join(ROOT, 'dist/index.js'))) return fail('There is no dist/: run npm run build')
  const processes = await Processes.start(serverEnvironment(settings))
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      processes.end()
      process.exit(1)
    })
  }
  try {
    const report = newReport(['npm run bench --', ...process.argv.slice(2)].join(' '))
    say(`${headerText(report)}\n`)
    if (settings.onlySyscalls) await runSyscalls(processes, report)
    else if (settings.onlyInstructions) await runInstructions(processes, settings, report)
    else {
      say(LEGEND)
      await runScenarios(processes, settings, report)
      await runMemory(processes, settings, report)
    }
    save(report, settings)
  } finally {
    processes.end()
  }
}

try {
  await main(readSettings())
} catch (error) {
  const isMisuse = error instanceof TypeError
  fail(isMisuse ? `${error.message}\n\n${USAGE}` : String(error instanceof Error ? error.stack : error))
}

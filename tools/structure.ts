/** Prints how hard the code is to follow, in figures. */
import { parseArgs } from 'node:util'
import { traceWalks } from './walks.js'

const USAGE = `npm run structure -- [options]
  --verbose       lists the functions of every walk, in order
  --walk TEXT     only the walks whose name contains it

Walks: which functions of index.ts and lib/ run, in order, on a real server over TCP (Fastify's logger is off).
  calls    every function with a body counts, getters and one-line arrows too; an async function counts when it starts.
           Calls into packages and into Node.js do not count
  files    in which these functions are
  returns  to a file already left: consecutive calls in one file are one step, and each later step into that file is a return`

const { values: { verbose: isVerbose, walk: wanted, help } } = parseArgs({
  options: {
    verbose: { type: 'boolean', default: false },
    walk: { type: 'string', default: '' },
    help: { type: 'boolean', default: false }
  }
})

async function printWalks (): Promise<void> {
  console.log('| walk | calls | files | returns to a file already left |\n|---|---|---|---|')
  const traces = await traceWalks(wanted)
  for (const [name, { calls, files, returns }] of traces) console.log(`| ${name} | ${calls.length} | ${files} | ${returns} |`)
  if (!isVerbose) return
  for (const [walk, { calls }] of traces) {
    console.log(`\n${walk}`)
    let last: string | undefined
    const visited = new Set<string>()
    for (const { file, name } of calls) {
      const mark = file === last ? ' ' : visited.has(file) ? '<' : '>' // '<' is a return
      console.log(`  ${mark} ${file}: ${name}`)
      visited.add(file)
      last = file
    }
  }
}

if (help) console.log(USAGE)
else await printWalks()

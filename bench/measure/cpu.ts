import { readdirSync, readFileSync } from 'node:fs'

export interface CpuTime {
  /** CPU time of all its threads, in µs. */
  readonly used: number
  /** Time in which its main thread could have run but another process did, in µs. The CPU time of its own other threads is subtracted. */
  readonly waited: number
}

/** Reads the CPU time of a process. Linux only. */
export function cpuTime (pid: number): CpuTime {
  const threads = readdirSync(`/proc/${pid}/task`).map((thread) => schedule(pid, Number(thread)))
  const used = threads.reduce((sum, each) => sum + each.used, 0)
  const main = schedule(pid, pid)
  return { used, waited: main.waited - (used - main.used) }
}

function schedule (pid: number, thread: number): CpuTime {
  const [used = 0, waited = 0] = readIfThere(`/proc/${pid}/task/${thread}/schedstat`).split(' ').map(Number) // the thread may have ended
  return { used: used / 1000, waited: waited / 1000 }
}

/** Chooses a CPU for the server and one for the load, on two cores if there are two. If there is only one CPU, both get it. */
export function chooseCpus (): { server: number, load: number } {
  const [server = 0, ...others] = allowedCpus()
  const siblings = cpuList(readIfThere(`/sys/devices/system/cpu/cpu${server}/topology/thread_siblings_list`))
  const load = others.find((cpu) => !siblings.includes(cpu)) ?? others[0] ?? server
  return { server, load }
}

function allowedCpus (): number[] {
  const [, list = '0'] = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readIfThere('/proc/self/status')) ?? []
  return cpuList(list)
}

// '0-3,8' → 0, 1, 2, 3, 8
function cpuList (text: string): number[] {
  return text.trim().split(',').filter((range) => range !== '').flatMap((range) => {
    const [first = 0, last = first] = range.split('-').map(Number)
    return Array.from({ length: last - first + 1 }, (_, i) => first + i)
  })
}

function readIfThere (path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

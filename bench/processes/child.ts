import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'

/** The questions that a child answers. Each takes one value and is answered with one value. */
type Commands = Record<string, (input: never) => unknown>

interface Request { readonly command: string, readonly input: unknown }
type Answer = { readonly output: unknown } | { readonly error: string }

const PATIENCE = 300_000 // ms; a question that takes longer counts as failed. A server under valgrind is slow

const running = new Set<ChildProcess>()

/** A child process that answers questions, one at a time. It ends when this process ends, however that happens. */
export class Child<C extends Commands> {
  readonly #process: ChildProcess
  readonly #name: string

  private constructor (name: string, spawned: ChildProcess) {
    this.#name = name
    this.#process = spawned
  }

  /** Resolves when the child is ready to answer questions. */
  static async start<C extends Commands> (name: string, command: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Child<C>> {
    const [program = '', ...args] = command
    const spawned = spawn(program, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    running.add(spawned)
    spawned.on('exit', () => running.delete(spawned))
    const child = new Child<C>(name, spawned)
    await child.#nextAnswer() // it sends one answer without a question when it is ready
    return child
  }

  get pid (): number {
    const { pid } = this.#process
    if (pid === undefined) throw new Error(`${this.#name} has not started`)
    return pid
  }

  async ask<K extends keyof C & string> (command: K, input: Parameters<C[K]>[0]): Promise<Awaited<ReturnType<C[K]>>> {
    const answer = this.#nextAnswer()
    this.#process.send({ command, input } satisfies Request)
    return await answer as Awaited<ReturnType<C[K]>> // both sides get their types from the same commands
  }

  async end (): Promise<void> {
    if (!running.has(this.#process)) return
    const exited = once(this.#process, 'exit')
    this.#process.kill('SIGKILL')
    await exited
  }

  #nextAnswer (): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const settle = (finish: () => void) => {
        clearTimeout(timer)
        this.#process.off('message', onMessage).off('exit', onExit).off('error', onError)
        finish()
      }
      const fail = (what: string) => settle(() => reject(new Error(`${this.#name}: ${what}`)))
      const onExit = (code: number | null, signal: string | null) => fail(`ended with ${code ?? signal}`)
      const onError = (error: Error) => fail(error.message)
      const onMessage = (message: unknown) => {
        const answer = message as Answer // sent by `answerQuestions()` below
        if ('error' in answer) fail(answer.error)
        else settle(() => resolve(answer.output))
      }
      const timer = setTimeout(fail, PATIENCE, `no answer within ${PATIENCE} ms`)
      this.#process.on('message', onMessage).on('exit', onExit).on('error', onError)
    })
  }
}

/** Kills all children of this process at once. */
export function endChildren (): void {
  for (const child of running) child.kill('SIGKILL')
}

/** Answers questions in the child, until the parent has ended. */
export function answerQuestions (commands: Commands): void {
  process.on('disconnect', () => process.exit())
  process.on('message', async ({ command, input }: Request) => {
    try {
      answer({ output: await commands[command]?.(input as never) ?? null }) // the asking process has checked its type
    } catch (error) {
      answer({ error: error instanceof Error ? error.stack ?? error.message : String(error) })
    }
  })
  answer({ output: null })
}

function answer (message: Answer): void {
  process.send?.(message)
}

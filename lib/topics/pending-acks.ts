/** How often a question is looked at that has no answer yet, in ms, and how many looks it has. */
const LOOK_INTERVAL = 250
const LOOKS = 9

/** The result of a question that was not answered in time. */
export class NoAnswerError extends Error {
  constructor () {
    super(`there was no answer within ${LOOK_INTERVAL * (LOOKS - 1)} ms`)
  }
}

interface Question {
  looks: number
  settle (error: Error | null): void
}

/**
 * Questions to somebody who may not answer. Time passes for them only while this process can hear the answers: one that was
 * busy for long looks once when it is done, and then hears first what came meanwhile.
 */
export class Questions {
  readonly #open = new Set<Question>()
  #timer: NodeJS.Timeout | undefined

  /**
   * Resolves to `null` when the answer is there, to an error where the answer is one, or where there is none in time.
   * @param onAnswer called with the answer, also with one that comes too late
   */
  ask (say: (answer: (error?: unknown) => void) => void, onAnswer: (error: Error | null) => void = () => {}): Promise<Error | null> {
    return new Promise((resolve) => {
      const question: Question = {
        looks: 0,
        settle: (error) => {
          if (this.#open.delete(question)) resolve(error)
          if (this.#open.size === 0) this.#stopTimer()
        }
      }
      let isAnswered = false
      const answer = (error: unknown) => {
        if (isAnswered) return
        isAnswered = true
        const result = error instanceof Error ? error : null
        onAnswer(result)
        question.settle(result)
      }
      this.#open.add(question)
      this.#timer ??= setInterval(() => this.#look(), LOOK_INTERVAL)
      try {
        say(answer)
      } catch (error) {
        answer(error instanceof Error ? error : new Error(String(error)))
      }
    })
  }

  /** No answer is waited for any longer. */
  end (error: Error): void {
    for (const question of this.#open) question.settle(error)
  }

  #look (): void {
    for (const question of this.#open) {
      if (++question.looks === LOOKS) question.settle(new NoAnswerError())
    }
  }

  #stopTimer (): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}

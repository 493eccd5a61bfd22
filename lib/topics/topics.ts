import { assertOptions, invalidArgument, type Names } from '../base/validation.js'
import type { Bus, BusState } from './bus.js'
import { Publication } from '../send/frame.js'

export interface SubscribeOptions {
  /** In the topic, `+` stands for any one level and `#` for any number of levels. @default false: such a topic is refused */
  readonly wildcards?: boolean | undefined
}

const OPTIONS: Names<SubscribeOptions> = { wildcards: true }

/** What became of a subscription. */
export interface SubscribeResult {
  /** `'ok'`: what other nodes publish comes too, where there are any. Else why it does not yet: `FST_WSA_BUS_LOST`. */
  readonly bus: BusState
}

/** What became of a publication among the subscribers here. */
export interface Delivery {
  /** Subscribers that took it. */
  readonly delivered: number
  /** Subscribers too slow for it: `slowConsumer` has come to pass. */
  readonly dropped: number
}

/** Whoever subscribes. */
export interface Subscriber {
  /** What it is subscribed to, while it is to anything. */
  topics: Set<string> | undefined
  readonly isClosed: boolean
  /** `null`: it is too late for that. */
  deliver (publication: Publication): boolean | null
}

const WILDCARD = /[+#]/
const LONE_SURROGATE = /\p{Surrogate}/u

// What is well within the limits of brokers and of their emitters, of which some end the process of who goes beyond
const MAX_LENGTH = 1024
const MAX_LEVELS = 64
const MAX_OPEN_ENDS = 3

const OK = Promise.resolve('ok' as const)

/** Who here gets what is published on which topic. The bus hears which topics that are. */
export class Topics<S extends Subscriber> {
  readonly #bus: Pick<Bus, 'join' | 'leave'> | null
  readonly #subscribers = new Map<string, Set<S>>()
  readonly #patterns = new Map<string, readonly string[]>() // those topics that have wildcards, by level

  constructor (bus: Pick<Bus, 'join' | 'leave'> | null) {
    this.#bus = bus
  }

  /** How many topics have subscribers. */
  get size (): number {
    return this.#subscribers.size
  }

  /**
   * What is published here it gets at once. Resolves when what other nodes publish comes too.
   * @throws FST_WSA_INVALID_ARGUMENT
   */
  subscribe (subscriber: S, topic: string, options: SubscribeOptions = {}): Promise<BusState> {
    assertOptions(options, OPTIONS, '{ wildcards: true }')
    assertTopic(topic, options.wildcards === true)
    if (subscriber.isClosed) return OK
    const subscribers = this.#subscribers.get(topic) ?? new Set()
    subscribers.add(subscriber)
    this.#subscribers.set(topic, subscribers)
    if (WILDCARD.test(topic)) this.#patterns.set(topic, topic.split('/'))
    subscriber.topics ??= new Set()
    subscriber.topics.add(topic)
    return this.#bus?.join(topic) ?? OK
  }

  /** @throws FST_WSA_INVALID_ARGUMENT */
  unsubscribe (subscriber: S, topic: string): void {
    assertTopic(topic, true)
    if (subscriber.topics?.delete(topic) === true) this.#remove(subscriber, topic)
    if (subscriber.topics?.size === 0) subscriber.topics = undefined
  }

  /** Ends all its subscriptions. */
  leave (subscriber: S): void {
    for (const topic of subscriber.topics ?? []) this.#remove(subscriber, topic)
    subscriber.topics = undefined
  }

  /** Gives the data to every subscriber of the topic but one, once to each. */
  deliver (topic: string, data: string | Buffer, except?: S): Delivery {
    const publication = new Publication(data)
    let [delivered, dropped] = [0, 0]
    for (const subscriber of this.#subscribersOf(topic)) {
      if (subscriber === except) continue
      const isTaken = subscriber.deliver(publication)
      if (isTaken === true) delivered++
      else if (isTaken === false) dropped++
    }
    return { delivered, dropped }
  }

  #remove (subscriber: S, topic: string): void {
    const subscribers = this.#subscribers.get(topic)
    subscribers?.delete(subscriber)
    if (subscribers?.size !== 0) return
    this.#subscribers.delete(topic)
    this.#patterns.delete(topic)
    this.#bus?.leave(topic)
  }

  // With wildcards several topics may match, and one subscriber have several of them
  #subscribersOf (topic: string): Iterable<S> {
    const exact = this.#subscribers.get(topic) ?? []
    if (this.#patterns.size === 0) return exact
    const all = new Set(exact)
    const levels = topic.split('/')
    for (const [pattern, its] of this.#patterns) {
      if (!matches(its, levels)) continue
      for (const subscriber of this.#subscribers.get(pattern) ?? []) all.add(subscriber)
    }
    return all
  }
}

/** @throws FST_WSA_INVALID_ARGUMENT */
export function assertTopic (topic: string, mayHaveWildcards: boolean): void {
  if (typeof topic !== 'string' || topic === '') throw invalidArgument('topic', 'a string that is not empty', topic)
  if (topic.length > MAX_LENGTH || LONE_SURROGATE.test(topic)) throw invalidArgument('topic', `a well-formed string of at most ${MAX_LENGTH} characters`, topic)
  const levels = topic.split('/')
  if (levels.length > MAX_LEVELS) throw invalidArgument('topic', `at most ${MAX_LEVELS} levels`, topic)
  if (!WILDCARD.test(topic)) return
  if (!mayHaveWildcards) {
    throw invalidArgument('topic', 'no + and no #, which are wildcards and only for subscriptions with { wildcards: true }', topic)
  }
  if (levels.some((level) => level.length > 1 && WILDCARD.test(level))) {
    throw invalidArgument('topic', 'each + and each # between slashes, alone', topic)
  }
  if (levels.filter((level) => level === '#').length > MAX_OPEN_ENDS) throw invalidArgument('topic', `at most ${MAX_OPEN_ENDS} #`, topic)
}

/** Level by level: `+` is any one, `#` any number of them. Only the last `#` is ever tried again, so that it ends soon. */
function matches (pattern: readonly string[], levels: readonly string[]): boolean {
  let [i, at] = [0, 0]
  let [last, taken] = [-1, 0] // the last `#`, and how far it reaches
  while (at < levels.length) {
    if (pattern[i] === '#') {
      last = i++
      taken = at
    } else if (pattern[i] === '+' || pattern[i] === levels[at]) {
      i++
      at++
    } else if (last !== -1) {
      i = last + 1
      at = ++taken
    } else {
      return false
    }
  }
  while (pattern[i] === '#') i++
  return i === pattern.length
}

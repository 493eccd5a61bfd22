import { assertOptions, invalidArgument, type Names } from '../base/validation.js'
import type { Bus, BusState } from './bus.js'
import { Publication } from '../send/frame.js'

export interface SubscribeOptions {
  /** Lets the topic contain wildcards: `+` matches one level, `#` any number of levels. @default false: such a topic is refused */
  readonly wildcards?: boolean | undefined
}

const OPTIONS: Names<SubscribeOptions> = { wildcards: true }

/** The result of a subscription. */
export interface SubscribeResult {
  /**
   * `'ok'` if the subscription covers what other nodes publish, and always without `pubsub`. Else an error with the code
   * `FST_WSA_BUS_LOST`, which says why it does not do so yet.
   */
  readonly bus: BusState
}

/** How a publication was received by the subscribers in this process. */
export interface Delivery {
  /** The number of subscribers that accepted it. */
  readonly delivered: number
  /** The number of subscribers that read too slowly to get it. `slowConsumer` was applied to each. */
  readonly dropped: number
}

/** A connection, as the topics see it. */
export interface Subscriber {
  /** The topics it has subscribed to, or `undefined` if there are none. */
  topics: Set<string> | undefined
  readonly isClosed: boolean
  /** Returns whether it accepted the publication: `false` if it reads too slowly, `null` if it has ended. */
  deliver (publication: Publication): boolean | null
}

const WILDCARD = /[+#]/
const LONE_SURROGATE = /\p{Surrogate}/u

// Brokers and emitters allow more than this; some emitters crash the process on longer topics
const MAX_LENGTH = 1024
const MAX_LEVELS = 64
const MAX_HASHES = 3

const OK = Promise.resolve('ok' as const)

/** The subscriptions of this process's connections. The bus joins each topic that has a subscriber. */
export class Topics<S extends Subscriber> {
  readonly #bus: Pick<Bus, 'join' | 'leave'> | null
  readonly #subscribers = new Map<string, Set<S>>()
  readonly #patterns = new Map<string, readonly string[]>() // the levels of each topic that has wildcards

  constructor (bus: Pick<Bus, 'join' | 'leave'> | null) {
    this.#bus = bus
  }

  /** The number of topics that have subscribers. */
  get size (): number {
    return this.#subscribers.size
  }

  /**
   * The subscriber gets what this node publishes at once. Resolves when it gets what other nodes publish too.
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

  /** Ends all subscriptions of the subscriber. */
  leave (subscriber: S): void {
    for (const topic of subscriber.topics ?? []) this.#remove(subscriber, topic)
    subscriber.topics = undefined
  }

  /** Delivers the data once to every subscriber of the topic except one. */
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

  // A set, because a subscriber may have several topics that match
  #subscribersOf (topic: string): Iterable<S> {
    const exact = this.#subscribers.get(topic) ?? []
    if (this.#patterns.size === 0) return exact
    const all = new Set(exact)
    const levels = topic.split('/')
    for (const [pattern, patternLevels] of this.#patterns) {
      if (!matches(patternLevels, levels)) continue
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
    throw invalidArgument('topic', 'a topic without + and #, which are wildcards; subscriptions may have them with { wildcards: true }', topic)
  }
  if (levels.some((level) => level.length > 1 && WILDCARD.test(level))) {
    throw invalidArgument('topic', 'each + and # to be a whole level, between slashes', topic)
  }
  if (levels.filter((level) => level === '#').length > MAX_HASHES) throw invalidArgument('topic', `at most ${MAX_HASHES} #`, topic)
}

/**
 * Compares level by level. Where a level does not match, only the last `#` takes one level more, so the time is bounded by the
 * product of both lengths.
 */
function matches (pattern: readonly string[], levels: readonly string[]): boolean {
  let [p, l] = [0, 0]
  let [hash, end] = [-1, 0] // the last `#`, and the end of the levels that it matches
  while (l < levels.length) {
    if (pattern[p] === '#') {
      hash = p++
      end = l
    } else if (pattern[p] === '+' || pattern[p] === levels[l]) {
      p++
      l++
    } else if (hash !== -1) {
      p = hash + 1
      l = ++end
    } else {
      return false
    }
  }
  while (pattern[p] === '#') p++
  return p === pattern.length
}

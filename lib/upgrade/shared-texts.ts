import type { IncomingMessage } from 'node:http'

/** How many different names and values are shared, and how long they are at most. */
const MAX_TEXTS = 1024
const MAX_LENGTH = 256

/** Headers whose values many requests have in common. The values of all others may be secrets, which nothing should keep. */
const COMMON = /^(?:host|connection|upgrade|origin|user-agent|accept-.*|cache-control|pragma|sec-websocket-(?:version|extensions))$/i

/** A name of a header, and the values of it that are shared, if any are. */
interface Header {
  readonly name: string
  readonly values: Map<string, string> | undefined
}

const headers = new Map<string, Header>()
let size = 0 // of all maps

/**
 * Lets requests share the texts of their headers. Node.js makes new strings for each request, and an open connection keeps its request.
 * To be called before anything reads `headers`, which takes its values from `rawHeaders`.
 */
export function shareTexts ({ rawHeaders }: IncomingMessage): void {
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const { name, values } = headerOf(rawHeaders[i] as string)
    rawHeaders[i] = name
    if (values !== undefined) rawHeaders[i + 1] = shared(values, rawHeaders[i + 1] as string)
  }
}

function headerOf (name: string): Header {
  const known = headers.get(name)
  if (known !== undefined) return known
  const header = { name, values: COMMON.test(name) ? new Map<string, string>() : undefined }
  if (name.length <= MAX_LENGTH && hasRoom()) headers.set(name, header)
  return header
}

function shared (values: Map<string, string>, value: string): string {
  if (value.length > MAX_LENGTH) return value
  const known = values.get(value)
  if (known !== undefined) return known
  if (hasRoom()) values.set(value, value)
  return value
}

/** Whether there is room for one text more. If not, everything is forgotten, so that what one client made up does not stay for ever. */
function hasRoom (): boolean {
  if (size++ < MAX_TEXTS) return true
  size = 0
  headers.clear()
  return false
}

import { validateHeaderName, validateHeaderValue } from 'node:http'

const TOKEN = /^[!#$%&'*+\-.0-9A-Z^_`|a-z~]+$/

/** Whether the text is a token (RFC 9110, section 5.6.2), as the name of a header or of a subprotocol has to be. */
export function isToken (text: string): boolean {
  return TOKEN.test(text)
}

/** Whether Node.js can write a header with this name and this value. */
export function isHeaderField (name: string, value: string): boolean {
  try {
    validateHeaderName(name)
    validateHeaderValue(name, value)
    return true
  } catch {
    return false
  }
}

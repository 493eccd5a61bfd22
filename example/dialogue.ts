import type { FastifyInstance } from 'fastify'
import type { AsyncWebSocket } from '../index.js' // in your app: 'fastify-websocket-async'

/** Asks for a name and an age, repeats each question until the answer is valid, and sends both back. */
export function dialogue (app: FastifyInstance): void {
  app.get('/dialogue', async (request) => {
    const ws = await request.getWebSocketAsync()

    const name = await askName(ws)
    if (name === null) return // the client has left

    const age = await askAge(ws)
    if (age === null) return

    await ws.sendAsync(`You're ${name}, and you are ${age} old.`)
    return ws.closeAsync()
  })
}

async function askName (ws: AsyncWebSocket): Promise<string | null> {
  let answer
  while ((answer = await ask(ws, 'What is your name?')) !== null) {
    if (answer.trim() !== '') return answer
    await ws.sendAsync('Please, insert your name!')
  }
  return null
}

async function askAge (ws: AsyncWebSocket): Promise<number | null> {
  let answer
  while ((answer = await ask(ws, 'And your age?')) !== null) {
    const age = parseInt32(answer)
    if (age !== null) return age
    await ws.sendAsync('Please, insert an valid number')
  }
  return null
}

/** Resolves to the next message after the question, or to `null` if the client leaves instead. */
async function ask (ws: AsyncWebSocket, question: string): Promise<string | null> {
  await ws.sendAsync(question)
  const message = await ws.receiveMessageAsync()
  return message === null ? null : message.getString()
}

/** The integer that the text contains, as C#'s `Int32.TryParse` reads it, or `null` if it contains none. */
export function parseInt32 (text: string): number | null {
  if (!/^[\t-\r ]*[+-]?[0-9]+[\t-\r ]*$/.test(text)) return null
  const value = Number(text)
  const int32 = value | 0 // wraps a value that is out of range, and turns -0 into 0
  return int32 === value ? int32 : null
}

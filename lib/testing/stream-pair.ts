import { Duplex } from 'node:stream'

/**
 * Two ends of a connection in one process: what is written to one is read from the other, held back where that one does
 * not read. As with TCP it takes a turn of the event loop to get there, and an end that is gone is noticed: reading ends, and
 * writing fails.
 */
export function streamPair (): [StreamEnd, StreamEnd] {
  const near = new StreamEnd()
  const far = new StreamEnd()
  near.peer = far
  far.peer = near
  return [near, far]
}

export class StreamEnd extends Duplex {
  /** As a `net.Socket` has it. */
  bytesRead = 0
  remoteAddress: string | undefined
  peer!: StreamEnd // set before anybody sees it
  #resumeWriter: ((error?: Error) => void) | undefined // of the peer

  // What was written together arrives together
  override _writev (chunks: { chunk: Buffer }[], done: (error?: Error) => void): void {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), 'binary', done)
  }

  override _write (chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error) => void): void {
    setImmediate(() => {
      const { peer } = this
      if (peer.destroyed) return done(brokenPipe())
      peer.bytesRead += chunk.length
      if (peer.push(chunk)) done()
      else peer.#resumeWriter = done
    })
  }

  override _read (): void {
    const resumeWriter = this.#resumeWriter
    this.#resumeWriter = undefined
    resumeWriter?.()
  }

  override _final (done: () => void): void {
    if (!this.peer.destroyed) this.peer.push(null)
    done()
  }

  override _destroy (error: Error | null, done: (error: Error | null) => void): void {
    const resumeWriter = this.#resumeWriter
    this.#resumeWriter = undefined
    resumeWriter?.(brokenPipe())
    // After what is on its way
    setImmediate(() => { if (!this.peer.destroyed && !this.peer.readableEnded) this.peer.push(null) })
    done(error)
  }
}

function brokenPipe (): Error {
  return Object.assign(new Error('The other end is gone'), { code: 'EPIPE' })
}

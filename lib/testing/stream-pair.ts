import { Duplex } from 'node:stream'

/**
 * The two ends of a connection within this process. What is written to one end can be read from the other a turn of the event loop
 * later, and a write waits while the other end does not read. When one end is destroyed, reading from the other ends and
 * writing to it fails.
 */
export function streamPair (): [StreamEnd, StreamEnd] {
  const near = new StreamEnd()
  const far = new StreamEnd()
  near.peer = far
  far.peer = near
  return [near, far]
}

export class StreamEnd extends Duplex {
  /** Counted as a `net.Socket` does. */
  bytesRead = 0
  remoteAddress: string | undefined
  peer!: StreamEnd // `streamPair()` sets it
  #resumeWriter: ((error?: Error) => void) | undefined // while a write of the peer waits

  // Chunks that were written together arrive together
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
    // In a later turn, because a chunk may still be on its way
    setImmediate(() => { if (!this.peer.destroyed && !this.peer.readableEnded) this.peer.push(null) })
    done(error)
  }
}

function brokenPipe (): Error {
  return Object.assign(new Error('The other end was destroyed'), { code: 'EPIPE' })
}

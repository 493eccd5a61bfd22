import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'
import type { KeepAliveTransport } from './keep-alive.js'
import type { SendTransport } from './sender.js'

/** What the sender sees of `ws`. */
export function sendTransport (socket: WebSocket, stream: Duplex): SendTransport {
  return {
    get bufferedAmount () { return socket.bufferedAmount },
    send (data, options, onFlushed) {
      // The write that is under way when the connection is cut off reports no error
      socket.send(data, options, onFlushed && ((error) => {
        if (error == null && !stream.destroyed) onFlushed()
      }))
    }
  }
}

/** What the keep-alive sees of `ws`. */
export function keepAliveTransport (socket: WebSocket, stream: Duplex, look: () => void, terminate: () => void): KeepAliveTransport {
  return {
    get inboundBytes () { return (stream as Socket).bytesRead }, // a stream that has none is not kept alive
    get isPaused () { return socket.isPaused },
    ping: (payload) => socket.ping(payload),
    look,
    terminate
  }
}

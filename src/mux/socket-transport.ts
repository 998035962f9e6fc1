/** A unix or TCP socket as a transport. */
import type net from 'node:net';
import type { WireError } from '../protocol/errors.ts';
import { readInto } from './read-into.ts';
import type { Transport } from './types.ts';

/**
 * @param socket connected, with no reader. The transport owns it from `start` on: after that the socket itself serves
 * only for `destroy()` and its `close` event.
 */
export function socketTransport(socket: net.Socket): Transport {
  return new SocketTransport(socket);
}

class SocketTransport implements Transport {
  #socket: net.Socket;
  #failure: Error | null = null;

  constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on('error', this.#onError);
  }

  send(bytes: Uint8Array, sent: () => void): void {
    this.#socket.write(bytes, (error) => {
      if (error === null || error === undefined) sent();
    });
  }

  start(onBytes: (chunk: Uint8Array) => void, onClose: (error: Error | null) => void): void {
    const given = this.#socket;
    if (given.destroyed) {
      queueMicrotask(() => onClose(this.#failure));
      return;
    }
    const socket = readInto(given, onBytes);
    this.#socket = socket;
    if (socket !== given) socket.on('error', this.#onError);
    socket.setNoDelay(true);
    socket.once('close', () => onClose(this.#failure));
  }

  close(_error?: WireError): void {
    this.#socket.destroy();
  }

  readonly #onError = (error: Error): void => {
    this.#failure ??= error;
  };
}

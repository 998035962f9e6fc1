/** A unix or TCP socket as a transport. */
import type net from 'node:net';
import type { WireError } from '../protocol/errors.ts';
import type { Transport } from './types.ts';

export function socketTransport(socket: net.Socket): Transport {
  return new SocketTransport(socket);
}

class SocketTransport implements Transport {
  readonly #socket: net.Socket;

  constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
  }

  send(bytes: Uint8Array, sent: () => void): void {
    this.#socket.write(bytes, (error) => {
      if (error === null || error === undefined) sent();
    });
  }

  start(onBytes: (chunk: Uint8Array) => void, onClose: (error: Error | null) => void): void {
    let failure: Error | null = null;
    this.#socket.on('error', (error) => (failure ??= error));
    this.#socket.once('close', () => onClose(failure));
    this.#socket.on('data', onBytes);
    if (this.#socket.destroyed) queueMicrotask(() => onClose(failure));
  }

  close(_error?: WireError): void {
    this.#socket.destroy();
  }
}

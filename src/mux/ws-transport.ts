/** A WebSocket as a transport: each message carries whole or partial frames, the boundaries mean nothing. */
import type { Socket } from 'node:net';
import { WebSocket, type ClientOptions, type ServerOptions } from 'ws';
import type { WireError } from '../protocol/errors.ts';
import type { Transport } from './types.ts';

/** A batch of the sender, or one control frame, with room to spare. */
const MAX_MESSAGE_BYTES = 2 * 1024 * 1024;
const CLOSE_GRACE_MS = 2_000;

/** What every WebSocket of ours is made with, on both sides. */
export const WS_OPTIONS = {
  perMessageDeflate: false,
  maxPayload: MAX_MESSAGE_BYTES,
  skipUTF8Validation: true,
  allowSynchronousEvents: true,
} as const satisfies ServerOptions & ClientOptions;

/** For a dialling side that trusts its network path: a mask of zeros, which costs nothing. Masks protect old proxies. */
export const zeroMask = (mask: Buffer): void => void mask.fill(0);

/**
 * @param ws open, or about to be. The peer's first frames may arrive in the same read as its upgrade: call this within
 * the callback that hands over the WebSocket, never after an await. `dialWs` does that for the dialling side.
 */
export function wsTransport(ws: WebSocket, socket?: Socket): Transport {
  return new WsTransport(ws, socket);
}

class WsTransport implements Transport {
  readonly #ws: WebSocket;
  readonly #socket: Socket | undefined;
  /** Messages that came before `start`. */
  #early: Buffer[] = [];
  #onBytes: (chunk: Uint8Array) => void = (chunk) => this.#early.push(chunk as Buffer);
  #onClose: (error: Error | null) => void = () => undefined;
  #failure: Error | null = null;

  constructor(ws: WebSocket, socket: Socket | undefined) {
    this.#ws = ws;
    this.#socket = socket;
    ws.binaryType = 'nodebuffer';
    ws.on('error', (error) => (this.#failure ??= error));
    ws.once('close', (code) => this.#onClose(this.#failure ?? closeError(code)));
    ws.on('message', (data) => this.#onBytes(data as Buffer));
  }

  send(bytes: Uint8Array, sent: () => void): void {
    if (this.#ws.readyState !== WebSocket.OPEN) return;
    this.#ws.send(bytes, SEND_OPTIONS, (error) => {
      if (error === null || error === undefined) sent();
    });
  }

  start(onBytes: (chunk: Uint8Array) => void, onClose: (error: Error | null) => void): void {
    this.#onBytes = onBytes;
    this.#onClose = onClose;
    for (const chunk of this.#early) onBytes(chunk);
    this.#early = [];
    if (this.#ws.readyState === WebSocket.CLOSED) queueMicrotask(() => onClose(this.#failure));
  }

  ref(alive: boolean): void {
    if (alive) this.#socket?.ref();
    else this.#socket?.unref();
  }

  close(error?: WireError): void {
    const ws = this.#ws;
    ws.close(error === undefined ? 1000 : 1008, error?.code);
    const timer = setTimeout(() => ws.terminate(), CLOSE_GRACE_MS);
    ws.once('close', () => clearTimeout(timer));
  }
}

const SEND_OPTIONS = { binary: true, compress: false, fin: true } as const;

function closeError(code: number): Error | null {
  return code === 1000 || code === 1005 ? null : new Error(`the WebSocket closed with code ${code}`);
}

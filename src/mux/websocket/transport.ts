/** A WebSocket after its handshake, as a transport: one write per batch, reads into reused memory, nothing gathered. */
import { randomFillSync } from 'node:crypto';
import type net from 'node:net';
import type { WireError } from '../../protocol/errors.ts';
import { readInto } from '../read-into.ts';
import type { Transport } from '../types.ts';
import {
  MAX_WS_HEADER_BYTES,
  Opcode,
  WebSocketError,
  WebSocketReader,
  applyMask,
  closePayload,
  readClose,
  writeHeaderBefore,
} from './frames.ts';

export interface WebSocketOptions {
  socket: net.Socket;
  /** What came behind the handshake. */
  head: Uint8Array;
  side: 'client' | 'server';
  /** Masks protect old proxies from scripts in browsers. Where there are none, a client's mask of zeros costs nothing. */
  maskWithZeros?: boolean;
}

const NO_PAYLOAD = new Uint8Array();
const NORMAL_CLOSURE = 1000;
const GOING_AWAY = 1001;
const POLICY_VIOLATION = 1008;
/** Answers to pings that the peer leaves unread. */
const MAX_UNREAD_ANSWER_BYTES = 64 * 1024;
const CLOSE_GRACE_MS = 2_000;

export function webSocketTransport(options: WebSocketOptions): Transport {
  return new WebSocketTransport(options);
}

class WebSocketTransport implements Transport {
  /** The header goes in front of the batch, so that both are one write. */
  readonly headroom = MAX_WS_HEADER_BYTES;
  readonly #options: WebSocketOptions;
  readonly #reader: WebSocketReader;
  readonly #key: Uint8Array | null;
  #socket: net.Socket;
  #onBytes: (chunk: Uint8Array) => void = () => undefined;
  #failure: Error | null = null;
  #closing = false;

  constructor(options: WebSocketOptions) {
    this.#options = options;
    this.#socket = options.socket;
    this.#key = options.side === 'client' ? new Uint8Array(4) : null;
    this.#socket.on('error', this.#onError);
    this.#reader = new WebSocketReader(
      {
        bytes: (chunk) => {
          this.#onBytes(chunk);
          return !this.#closing;
        },
        control: (opcode, payload) => this.#control(opcode, payload),
      },
      options.side === 'server',
    );
  }

  send(bytes: Uint8Array, sent: () => void): void {
    if (this.#closing) return;
    this.#socket.write(this.#framed(Opcode.BINARY, bytes), (error) => {
      if (error === null || error === undefined) sent();
    });
  }

  start(onBytes: (chunk: Uint8Array) => void, onClose: (error: Error | null) => void): void {
    const given = this.#socket;
    this.#onBytes = onBytes;
    if (given.destroyed) {
      queueMicrotask(() => onClose(this.#failure));
      return;
    }
    const socket = readInto(given, (chunk) => this.#read(chunk), this.#options.head);
    this.#socket = socket;
    if (socket !== given) socket.on('error', this.#onError);
    socket.setNoDelay(true);
    socket.once('close', () => onClose(this.#failure));
  }

  ref(alive: boolean): void {
    if (alive) this.#socket.ref();
    else this.#socket.unref();
  }

  close(error?: WireError): void {
    if (error === undefined) this.#shut(NORMAL_CLOSURE, '');
    else this.#shut(error.code === 'draining' ? GOING_AWAY : POLICY_VIOLATION, error.code);
  }

  #read(chunk: Uint8Array): void {
    if (this.#closing) return;
    try {
      this.#reader.push(chunk);
    } catch (error) {
      this.#failure ??= error instanceof Error ? error : new Error(String(error));
      this.#shut(error instanceof WebSocketError ? error.status : 1011, this.#failure.message);
    }
  }

  #control(opcode: number, payload: Uint8Array): boolean {
    if (opcode === Opcode.PING) {
      if (this.#socket.writableLength < MAX_UNREAD_ANSWER_BYTES) this.#write(Opcode.PONG, payload);
    } else if (opcode === Opcode.CLOSE) {
      const close = readClose(payload);
      if (close !== null && close.code !== NORMAL_CLOSURE) {
        const { code, reason } = close;
        this.#failure ??= new Error(`the WebSocket was closed with code ${code}${reason === '' ? '' : `: ${reason}`}`);
      }
      this.#shut(close?.code ?? null, '');
    }
    return !this.#closing;
  }

  /**
   * Says goodbye, waits a little for the peer to hang up, and hangs up.
   * @param code null: none, in answer to a peer that gave none
   */
  #shut(code: number | null, reason: string): void {
    if (this.#closing) return;
    this.#closing = true;
    const socket = this.#socket;
    this.#write(Opcode.CLOSE, code === null ? NO_PAYLOAD : closePayload(code, reason));
    socket.end();
    const timer = setTimeout(() => socket.destroy(), CLOSE_GRACE_MS);
    socket.once('close', () => clearTimeout(timer));
  }

  #write(opcode: number, payload: Uint8Array): void {
    const out = Buffer.alloc(MAX_WS_HEADER_BYTES + payload.length);
    out.set(payload, MAX_WS_HEADER_BYTES);
    this.#socket.write(this.#framed(opcode, out.subarray(MAX_WS_HEADER_BYTES)));
  }

  /** `bytes` has `headroom` writable bytes in front of it. */
  #framed(opcode: number, bytes: Uint8Array): Uint8Array {
    const key = this.#key;
    if (key !== null && !this.#options.maskWithZeros) {
      randomFillSync(key);
      applyMask(bytes, key, 0);
    }
    const whole = new Uint8Array(
      bytes.buffer,
      bytes.byteOffset - MAX_WS_HEADER_BYTES,
      MAX_WS_HEADER_BYTES + bytes.length,
    );
    const start = writeHeaderBefore(whole, MAX_WS_HEADER_BYTES, opcode, bytes.length, key);
    return whole.subarray(start);
  }

  readonly #onError = (error: Error): void => {
    this.#failure ??= error;
  };
}

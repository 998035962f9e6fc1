/** Ports inside a sandbox, as byte streams or URLs, whether or not it has a network. */
import { Duplex } from 'node:stream';
import * as z from 'zod';
import { ServiceError } from '../protocol/errors.ts';
import { Channel } from '../protocol/frames.ts';
import type { MuxStream } from '../mux/index.ts';
import { read } from './answer.ts';
import type { CallOptions, HttpClient } from './http.ts';
import { CALL_OPTIONS, checkOptions } from './known-options.ts';
import { idOf } from './sandbox-id.ts';
import { openStream, type Streams } from './unary.ts';
import { NoWebSocket } from './connection.ts';
import { needsWebSocket } from './errors.ts';
import { asError, withDeadline } from '../lib/deadline.ts';

const CONNECT_DEADLINE_MS = 30_000;

const Preview = z.object({ url: z.string(), token: z.string(), expiresAt: z.string() });
/** A URL that gives whoever has it access to one port, until `expiresAt`. The token is already in the URL. */
export type Preview = z.infer<typeof Preview>;

export class Ports {
  readonly #http: HttpClient;
  readonly #streams: Streams;
  readonly #sandbox: string | Promise<string>;

  constructor(deps: { http: HttpClient; streams: Streams; sandbox: string | Promise<string> }) {
    this.#http = deps.http;
    this.#streams = deps.streams;
    this.#sandbox = deps.sandbox;
  }

  /**
   * Connects to a port on the sandbox's loopback. The signal and the deadline apply only to connecting.
   * @throws ServiceError `port_refused` when nothing listens there.
   */
  async connect(port: number, options: CallOptions = {}): Promise<Duplex> {
    checkOptions('ports.connect', options, CALL_OPTIONS);
    const { signal, deadlineMs = CONNECT_DEADLINE_MS } = options;
    const tunnel = new Tunnel();
    try {
      return await withDeadline({ signal, deadlineMs, what: `connecting to port ${port}` }, async (linked) => {
        const sandbox = await this.#sandbox;
        // The signal is over with this wait, however long the tunnel is used.
        tunnel.use(await openStream(this.#streams, { op: 'port', sandbox, port }, linked, tunnel.handler));
        await tunnel.opened;
        return tunnel;
      });
    } catch (error) {
      tunnel.destroy();
      throw error instanceof NoWebSocket ? needsWebSocket('a connection to a port', error) : error;
    }
  }

  /**
   * A URL for browsers and other HTTP and WebSocket clients that have no key. Valid for an hour unless `expiresInMs`
   * says otherwise, and no longer than the sandbox lives. Does not check whether anything listens there.
   */
  async preview(port: number, options: CallOptions & { expiresInMs?: number | undefined } = {}): Promise<Preview> {
    checkOptions('ports.preview', options, { ...CALL_OPTIONS, expiresInMs: true });
    const { expiresInMs, ...call } = options;
    const path = `/v1/sandboxes/${encodeURIComponent(await idOf(this.#sandbox, call))}/previews`;
    const body = { port, ...(expiresInMs === undefined ? {} : { expiresInMs }) };
    return read(Preview, await this.#http.json({ method: 'POST', path, body, idempotent: true, ...call }));
  }
}

class Tunnel extends Duplex {
  readonly #opened = Promise.withResolvers<void>();
  #stream: MuxStream | null = null;
  #isOpen = false;
  /** Credit for bytes pushed while the reader had enough: returned when it asks for more. */
  #owed = 0;

  constructor() {
    super({ allowHalfOpen: true });
    this.#opened.promise.catch(() => undefined);
  }

  readonly handler = {
    opened: (): void => {
      this.#isOpen = true;
      this.#opened.resolve();
    },
    data: (_channel: number, bytes: Uint8Array): void => {
      if (this.push(Buffer.from(bytes))) this.#stream?.consume(bytes.length);
      else this.#owed += bytes.length;
    },
    fin: (channel: number): void => {
      if (channel === Channel.ALL) this.push(null);
    },
    closed: (error: Error | null): void => {
      this.#opened.reject(error ?? new ServiceError('interrupted'));
      // As with a socket of Node's: a reader that has had all of it, and a writer with nothing on its way, lose nothing.
      const isDone = this.readableEnded && this.writableLength === 0;
      if (error !== null && this.#isOpen) this.destroy(isDone ? undefined : error);
    },
  };

  get opened(): Promise<void> {
    return this.#opened.promise;
  }

  use(stream: MuxStream): void {
    this.#stream = stream;
  }

  override _read(): void {
    const owed = this.#owed;
    this.#owed = 0;
    this.#stream?.consume(owed);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const stream = this.#stream;
    if (stream === null || stream.closed) return done(new ServiceError('interrupted', 'the tunnel is closed'));
    const drained = stream.write(Channel.BYTES, chunk);
    if (drained === undefined) done();
    else void drained.then(() => done());
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#stream?.end();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#stream?.reset(new ServiceError('cancelled'));
    done(error === null ? null : asError(error));
  }
}

/**
 * The socket that one container's boxinit dials, and its current connection. Code in the container can reach the socket
 * too, so a caller counts only once it has presented the token. Even then its frames are hostile, and can harm only its
 * own sandbox.
 */
import net from 'node:net';
import { orAbort, withDeadline } from '../../src/lib/deadline.ts';
import type { Logger } from '../../src/lib/logger.ts';
import type { Json, MuxStream, StreamHandler } from '../../src/mux/index.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import type { SupervisorHello } from '../../src/protocol/supervisor.ts';
import { bindSocketFile } from '../listen.ts';
import { Connection, type ConnectionEvents } from './connection.ts';
import { cleanError } from './hostile.ts';
import type { Supervisor } from './supervisor.ts';

/** Callers that have not presented the token yet. Beyond this, the oldest is dropped. */
const MAX_UNPROVEN = 4;
const DEFAULT_CALL_MS = 10_000;
const DEFAULT_PING_MS = 5_000;

interface SupervisorLinkOptions {
  /** Container id. */
  id: string;
  socketPath: string;
  token: string;
  log: Logger;
}

/** Callbacks of the container's owner. */
interface SupervisorEvents {
  /** boxinit has connected, for the first time or again. */
  connected?(): void;
  /** The connection is gone; boxinit may reconnect. */
  disconnected?(error: ServiceError | null): void;
  /** boxinit broke the protocol. */
  hostile?(error: ServiceError): void;
}

export class SupervisorLink implements Supervisor {
  readonly id: string;
  /** Set by the container's owner, and changes with it. */
  events: SupervisorEvents = {};
  readonly #options: SupervisorLinkOptions;
  readonly #server: net.Server;
  #unproven: Connection[] = [];
  #current: Connection | null = null;
  #lastHello: SupervisorHello | null = null;
  #arrival = Promise.withResolvers<void>();
  #closed = false;

  private constructor(options: SupervisorLinkOptions) {
    this.id = options.id;
    this.#options = options;
    this.#server = net.createServer((socket) => this.#accept(socket));
    this.#server.on('error', (error) =>
      options.log.error({ err: error, container: this.id }, 'supervisor socket error'),
    );
    this.#arrival.promise.catch(() => undefined);
  }

  /** Binds the socket, replacing an earlier agent's. @throws as `bindSocketFile` */
  static async listen(options: SupervisorLinkOptions): Promise<SupervisorLink> {
    const link = new SupervisorLink(options);
    // Only the container's root may connect.
    await bindSocketFile(link.#server, options.socketPath, { backlog: 16 });
    return link;
  }

  /** False as soon as the connection is lost, before its streams are closed. */
  get connected(): boolean {
    return this.#current !== null && !this.#current.mux.closed;
  }

  get hello(): SupervisorHello {
    if (this.#lastHello === null) throw new ServiceError('node_unavailable', 'boxinit has not connected yet');
    return this.#lastHello;
  }

  open(request: Json, handler: StreamHandler): MuxStream {
    if (this.#current === null) throw new ServiceError('node_unavailable', 'boxinit is not connected');
    return this.#current.mux.open(request, handler);
  }

  /**
   * One request, one answer. Leaves nothing on the link, whatever boxinit does: it may be hostile.
   * @throws ServiceError from boxinit, `deadline_exceeded`, `interrupted`, or the signal's reason.
   */
  async call(request: Json, options: { signal?: AbortSignal; deadlineMs?: number } = {}): Promise<Json> {
    const { signal, deadlineMs = DEFAULT_CALL_MS } = options;
    const answer = Promise.withResolvers<Json>();
    let answered = false;
    let hangUp: NodeJS.Timeout | undefined;
    const stream = this.open(request, {
      opened: (message) => {
        answered = true;
        answer.resolve(message);
      },
      fin: () => undefined,
      closed: (error) => {
        clearTimeout(hangUp);
        if (!answered) answer.reject(error ?? new ServiceError('interrupted'));
      },
    });
    try {
      return await withDeadline({ signal, deadlineMs, what: 'boxinit' }, () => answer.promise);
    } catch (error) {
      if (error instanceof ServiceError) throw cleanError(error);
      throw error;
    } finally {
      const cut = (): void => stream.reset(new ServiceError('cancelled'));
      if (answered) stream.end();
      else cut();
      if (!stream.closed) hangUp = setTimeout(cut, Math.min(deadlineMs, DEFAULT_CALL_MS)).unref();
    }
  }

  /** Resolves once boxinit is connected. @throws ServiceError `deadline_exceeded`, `cancelled` if this is closed. */
  async arrival(options: { signal?: AbortSignal | undefined; deadlineMs: number }): Promise<void> {
    await withDeadline({ ...options, what: 'the start of boxinit' }, (signal) =>
      orAbort(signal, this.#arrival.promise),
    );
  }

  async ping(deadlineMs = DEFAULT_PING_MS): Promise<number> {
    const connection = this.#current;
    if (connection === null) throw new ServiceError('node_unavailable', 'boxinit is not connected');
    return await withDeadline({ deadlineMs, what: "boxinit's answer" }, () => connection.mux.ping());
  }

  /** Declares boxinit hostile, after a message that it would never send. */
  condemn(reason: string): void {
    this.#hostile(new ServiceError('protocol_error', reason));
    this.#current?.close(new ServiceError('protocol_error', reason));
  }

  /** Closes the connection and removes the socket. No callbacks are made after this. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.events = {};
    this.#server.close();
    this.#arrival.reject(new ServiceError('cancelled', 'the container was abandoned'));
    for (const connection of [...this.#unproven, ...(this.#current === null ? [] : [this.#current])])
      connection.close();
    this.#unproven = [];
    this.#current = null;
  }

  #accept(socket: net.Socket): void {
    if (this.#closed) return void socket.destroy();
    const events: ConnectionEvents = {
      greeted: (connection) => this.#greeted(connection),
      closed: (connection, error) => this.#lost(connection, error),
      failed: (error) => this.#failed(error),
    };
    this.#unproven.push(new Connection(socket, this.#options.token, events));
    if (this.#unproven.length > MAX_UNPROVEN) this.#unproven.shift()?.close();
  }

  #greeted(connection: Connection): void {
    this.#unproven = this.#unproven.filter((other) => other !== connection);
    const before = this.#current;
    this.#current = connection;
    this.#lastHello = connection.hello;
    before?.close(new ServiceError('cancelled', 'boxinit has reconnected'));
    this.#arrival.resolve();
    this.#notify(() => this.events.connected?.());
  }

  #lost(connection: Connection, error: ServiceError | null): void {
    this.#unproven = this.#unproven.filter((other) => other !== connection);
    if (this.#current !== connection) return;
    this.#current = null;
    if (this.#closed) return;
    this.#arrival = Promise.withResolvers<void>();
    this.#arrival.promise.catch(() => undefined);
    if (error?.code === 'protocol_error') this.#hostile(error);
    this.#notify(() => this.events.disconnected?.(error));
  }

  #hostile(error: ServiceError): void {
    this.#options.log.warn({ container: this.id, rule: error.message }, 'boxinit violated the protocol');
    this.#notify(() => this.events.hostile?.(error));
  }

  /** An exception in an owner's callback must not reach the socket's event handler. */
  #notify(callback: () => void): void {
    try {
      callback();
    } catch (error) {
      this.#failed(error);
    }
  }

  #failed(error: unknown): void {
    this.#options.log.error({ err: error, container: this.id }, 'a handler of a supervisor link failed');
  }
}

/**
 * TCP ports of this gateway that are forwarded into sandboxes. Connections are not authenticated, so that any protocol
 * can be used over them.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { pipeline, type Duplex } from 'node:stream';
import { ServiceError } from '../../../protocol/errors.ts';

export interface PortRange {
  first: number;
  last: number;
}

/** Connects to the port inside. Rejects when nothing listens there. */
export type ConnectInside = (signal: AbortSignal) => Promise<Duplex>;

export interface TcpPort {
  readonly port: number;
  /** Stops listening and cuts the connections through the port. Idempotent. */
  close(): void;
}

/** Concurrent connections per port; more are refused. */
const MAX_CONNECTIONS = 256;
/** Idle time before the kernel starts to probe whether a peer is still there. */
const KEEP_ALIVE_MS = 60_000;

export class TcpPorts {
  readonly #host: string;
  readonly #range: PortRange;
  readonly #taken = new Set<number>();
  #next: number;

  constructor(host: string, range: PortRange) {
    this.#host = host;
    this.#range = range;
    this.#next = range.first;
  }

  /**
   * Listens on a free port of the range. Ports are used in turn, so that a client with a stale address does not soon
   * end up in another sandbox.
   * @throws ServiceError `capacity_exhausted`
   */
  async open(connect: ConnectInside): Promise<TcpPort> {
    const { first, last } = this.#range;
    for (let tries = last - first + 1; tries > 0; tries--) {
      const port = this.#next;
      this.#next = port === last ? first : port + 1;
      if (this.#taken.has(port)) continue;
      this.#taken.add(port);
      const forwarder = new Forwarder(connect);
      const close = (): void => {
        forwarder.close();
        this.#taken.delete(port);
      };
      try {
        if (await forwarder.listen(port, this.#host)) return { port, close };
      } catch (error) {
        close();
        throw error;
      }
      close();
    }
    throw new ServiceError('capacity_exhausted', 'all ports that this server can expose for TCP are in use');
  }
}

class Forwarder {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(connect: ConnectInside) {
    const options = { allowHalfOpen: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS, noDelay: true };
    this.#server = createServer(options, (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
      void forward(socket, connect);
    });
    this.#server.maxConnections = MAX_CONNECTIONS;
  }

  /** Resolves with false when the port is taken or not permitted. */
  listen(port: number, host: string): Promise<boolean> {
    return new Promise((resolve, reject) => {
      this.#server.on('error', (error: NodeJS.ErrnoException) => {
        if (error.code === 'EADDRINUSE' || error.code === 'EACCES') resolve(false);
        else reject(error);
      });
      this.#server.listen(port, host, () => resolve(true));
    });
  }

  close(): void {
    if (this.#server.listening) this.#server.close();
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }
}

/** Never rejects: a failed connection is reset, as by a port where nothing listens. */
async function forward(socket: Socket, connect: ConnectInside): Promise<void> {
  const gone = new AbortController();
  socket.on('error', () => undefined);
  socket.once('close', () => gone.abort(new ServiceError('cancelled')));
  let inside: Duplex;
  try {
    inside = await connect(gone.signal);
  } catch {
    socket.resetAndDestroy();
    return;
  }
  // Either side may have gone while the other connected.
  if (socket.destroyed || inside.destroyed) {
    socket.resetAndDestroy();
    inside.destroy();
    return;
  }
  // A broken connection must not look like a regular end.
  inside.on('error', () => socket.resetAndDestroy());
  const ended = (error: Error | null | undefined): void => {
    if (!error) return;
    socket.destroy();
    inside.destroy();
  };
  // Each direction ends on its own.
  pipeline(socket, inside, ended);
  pipeline(inside, socket, ended);
}

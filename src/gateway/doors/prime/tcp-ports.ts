/**
 * Ports of this gateway that lead into sandboxes: whoever connects to one is connected to what listens inside. Nothing
 * asks who it is, so that any protocol can be spoken.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { pipeline, type Duplex } from 'node:stream';
import { ServiceError } from '../../../protocol/errors.ts';

export interface PortRange {
  first: number;
  last: number;
}

/** A connection to the port inside. Rejects when there is none. */
export type ConnectInside = (signal: AbortSignal) => Promise<Duplex>;

export interface TcpPort {
  readonly port: number;
  /** Nothing listens there any more, and connections through it are cut. Idempotent. */
  close(): void;
}

/** Through one port at a time; what comes beyond them is turned away. */
const MAX_CONNECTIONS = 256;
/** A peer that vanished is noticed by the kernel's probes, which begin after this. */
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
   * Listens on a free port of the range. They are taken in turn: whoever still knows the address of a port that was
   * given back does not soon come out in another sandbox.
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
    throw new ServiceError('capacity_exhausted', 'All ports that this server can expose for TCP are in use.');
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

  /** False: the port cannot be had. */
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

/** Never rejects: whoever cannot be connected is told as by a port where nothing listens. */
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
  // Either may have gone while the other came.
  if (socket.destroyed || inside.destroyed) {
    socket.resetAndDestroy();
    inside.destroy();
    return;
  }
  // What was cut off is not to look like an end.
  inside.on('error', () => socket.resetAndDestroy());
  const ended = (error: Error | null | undefined): void => {
    if (!error) return;
    socket.destroy();
    inside.destroy();
  };
  // Each direction ends by itself.
  pipeline(socket, inside, ended);
  pipeline(inside, socket, ended);
}

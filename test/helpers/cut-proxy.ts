/** A proxy between two parts of the service that cuts its connections at chosen bytes. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type NetConnectOpts, type Server, type Socket } from 'node:net';

export interface Cut {
  /** This many bytes, over both directions, are passed. */
  afterBytes: number;
  /** Bytes received but not yet delivered are lost too. */
  abrupt: boolean;
}

export interface CutProxyOptions {
  /** A path for a unix socket; default: a free loopback port. */
  path?: string;
  target: NetConnectOpts;
  /** Called for each connection. Null: this one is not cut. */
  plan(): Cut | null;
}

export class CutProxy implements AsyncDisposable {
  readonly #options: CutProxyOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Connections that were cut. */
  cuts = 0;
  connections = 0;

  private constructor(options: CutProxyOptions) {
    this.#options = options;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#join(socket));
  }

  static async listen(options: CutProxyOptions): Promise<CutProxy> {
    const proxy = new CutProxy(options);
    if (options.path === undefined) proxy.#server.listen(0, '127.0.0.1');
    else proxy.#server.listen(options.path);
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Closes all current connections. Not counted. */
  hangUp(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await Promise.resolve();
  }

  #join(near: Socket): void {
    this.connections += 1;
    const far = connect({ ...this.#options.target, allowHalfOpen: true } as NetConnectOpts);
    const cut = this.#options.plan();
    let left = cut?.afterBytes ?? Number.POSITIVE_INFINITY;
    let over = false;
    const end = (): void => {
      over = true;
      near.destroy();
      far.destroy();
    };
    const pass = (from: Socket, to: Socket): void => {
      this.#sockets.add(from);
      from.on('error', end);
      from.on('close', () => {
        this.#sockets.delete(from);
        end();
      });
      from.on('end', () => to.end());
      from.on('data', (bytes: Buffer) => {
        if (over) return;
        const part = bytes.subarray(0, left);
        left -= part.length;
        if (left > 0) {
          if (to.write(part)) return;
          from.pause();
          to.once('drain', () => from.resume());
          return;
        }
        over = true;
        this.cuts += 1;
        if (cut?.abrupt) return end();
        from.destroy();
        to.end(part, end);
      });
    };
    pass(near, far);
    pass(far, near);
  }
}

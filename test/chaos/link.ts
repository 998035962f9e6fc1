/** A link between two parts of the service that can be cut for a while, or made silent in one direction. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

export type Direction = 'there' | 'back';

interface Pair {
  near: Socket;
  far: Socket;
}

export class Link implements AsyncDisposable {
  readonly #server: Server;
  readonly #pairs = new Set<Pair>();
  #down = false;
  readonly #silent = new Set<Direction>();
  #delayMs = 0;

  private constructor(port: number) {
    this.#server = createServer({ allowHalfOpen: true }, (near) => this.#join(near, port));
  }

  /** @param port loopback port that the link leads to */
  static async to(port: number): Promise<Link> {
    const link = new Link(port);
    link.#server.listen(0, '127.0.0.1');
    await once(link.#server, 'listening');
    return link;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Breaks all connections, and accepts none until `heal`. */
  cut(): void {
    this.#down = true;
    for (const { near } of this.#pairs) near.destroy();
  }

  /** Drops everything in one direction until `heal`, without either side being notified. */
  silence(direction: Direction): void {
    this.#silent.add(direction);
    for (const pair of this.#pairs) source(pair, direction).pause();
  }

  /** Delays everything by this much, in both directions, until `heal`. */
  slow(delayMs: number): void {
    this.#delayMs = delayMs;
  }

  heal(): void {
    this.#down = false;
    this.#delayMs = 0;
    for (const direction of this.#silent) {
      for (const pair of this.#pairs) source(pair, direction).resume();
    }
    this.#silent.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.cut();
    await Promise.resolve();
  }

  #join(near: Socket, port: number): void {
    near.on('error', () => undefined);
    if (this.#down) {
      near.destroy();
      return;
    }
    const far = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    const pair = { near, far };
    this.#pairs.add(pair);
    const end = (): void => {
      this.#pairs.delete(pair);
      near.destroy();
      far.destroy();
    };
    this.#pass(near, far, 'there', end);
    this.#pass(far, near, 'back', end);
  }

  #pass(from: Socket, to: Socket, direction: Direction, end: () => void): void {
    from.on('error', end);
    from.on('close', end);
    const pass = (bytes: Buffer): void => {
      if (to.write(bytes)) return;
      from.pause();
      to.once('drain', () => {
        if (!this.#silent.has(direction)) from.resume();
      });
    };
    // In order: nothing overtakes delayed data.
    const held: (() => void)[] = [];
    const later = (act: () => void): void => {
      if (this.#delayMs === 0 && held.length === 0) return act();
      held.push(act);
      setTimeout(() => held.shift()?.(), this.#delayMs);
    };
    from.on('end', () => later(() => to.end()));
    from.on('data', (bytes: Buffer) => later(() => pass(bytes)));
    if (this.#silent.has(direction)) from.pause();
  }
}

const source = ({ near, far }: Pair, direction: Direction): Socket => (direction === 'there' ? near : far);

/**
 * Processes that only pass bytes on, connected as supervisor, agent and gateway are: two unix sockets, then TCP. A
 * program of `bench/micro` plays all roles: it begins with `runAsRelay`, and starts itself again with `RelayChain`.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Whether this process is one of a chain; if so it serves with `onConnection`, whose `next` is undefined in the last
 * one.
 */
export function runAsRelay(onConnection: (near: net.Socket, next: string | undefined) => void): boolean {
  const [what, listen = '', next] = process.argv.slice(2);
  if (what !== 'relay') return false;
  const server = net.createServer((near) => {
    near.on('error', () => near.destroy());
    onConnection(near, next);
  });
  const where = listen === 'tcp' ? { port: 0, host: '127.0.0.1' } : { path: listen };
  server.listen(where, () => process.send?.(server.address()));
  process.on('disconnect', () => process.exit());
  return true;
}

export class RelayChain implements Disposable {
  readonly #directory = mkdtempSync(join(tmpdir(), 'millibox-relays-'));
  readonly #children: ChildProcess[] = [];
  #port = 0;

  /** @param program the file that calls `runAsRelay` */
  static async start(program: string): Promise<RelayChain> {
    const chain = new RelayChain();
    try {
      const [agent, supervisor] = [join(chain.#directory, 'agent'), join(chain.#directory, 'supervisor')];
      await chain.#add(program, supervisor);
      await chain.#add(program, agent, supervisor);
      const { port } = (await chain.#add(program, 'tcp', agent)) as net.AddressInfo;
      chain.#port = port;
      return chain;
    } catch (error) {
      chain[Symbol.dispose]();
      throw error;
    }
  }

  /** Port of the first one, on 127.0.0.1. */
  get port(): number {
    return this.#port;
  }

  async #add(program: string, ...words: string[]): Promise<unknown> {
    const child = fork(program, ['relay', ...words]);
    this.#children.push(child);
    const [address] = (await once(child, 'message')) as [unknown];
    return address;
  }

  [Symbol.dispose](): void {
    for (const child of this.#children) child.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

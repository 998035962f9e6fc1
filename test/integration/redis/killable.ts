/** A gateway that can be killed at any time, with nodes owned by the test. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { request } from 'undici';
import type { FakeNode } from '../../../src/gateway/testing/fake-node.ts';
import { KEY } from '../../../src/gateway/testing/harness.ts';
import { removeAll } from '../../../src/lib/remove-all.ts';
import { socketTransport } from '../../../src/mux/index.ts';
import { allowedEnvironment } from '../../helpers/config.ts';

export interface Orders {
  redisUrl: string;
  /** Unix sockets by the nodes' urls. */
  nodes: Record<string, string>;
  /** As in the file of tenants. */
  tenants: object;
}

export class KillableGateway implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #servers: readonly Server[];
  readonly #home: string;
  #url = '';

  private constructor(process: ChildProcess, servers: readonly Server[], home: string) {
    this.#process = process;
    this.#servers = servers;
    this.#home = home;
  }

  /** With production timeouts. `clockMs`: the offset of its wall clock. */
  static async start(
    redisUrl: string,
    nodes: readonly FakeNode[],
    { clockMs = 0, tenants = {} } = {},
  ): Promise<KillableGateway> {
    const home = mkdtempSync(join(tmpdir(), 'killable-'));
    const servers = nodes.map((node) => createServer((socket) => void node.serve(socketTransport(socket))));
    const clockFile = join(home, 'clock');
    writeFileSync(clockFile, String(clockMs));
    const child = fork(join(import.meta.dirname, 'killable-main.ts'), {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      execArgv: ['--import', join(import.meta.dirname, '../../hosts/clock.mjs')],
      env: { ...allowedEnvironment(), TEST_CLOCK_FILE: clockFile },
    });
    const gateway = new KillableGateway(child, servers, home);
    const orders: Orders = { redisUrl, nodes: {}, tenants };
    for (const [i, server] of servers.entries()) {
      const path = join(home, String(i));
      orders.nodes[nodes[i]?.url ?? ''] = path;
      await once(server.listen(path), 'listening');
    }
    child.send(orders);
    const ended = once(child, 'exit').then(() => Promise.reject(new Error('the gateway ended')));
    [gateway.#url] = (await Promise.race([once(child, 'message'), ended])) as [string];
    ended.catch(() => undefined);
    return gateway;
  }

  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- as `TestGateway.ask`
  async ask(method: 'GET' | 'POST' | 'DELETE', path: string, body?: object): Promise<any> {
    const answer = await request(this.#url + path, {
      method,
      headers: {
        authorization: `Bearer ${KEY.replaceAll(' ', '-')}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      body: body === undefined ? null : JSON.stringify(body),
    });
    return await answer.body.json();
  }

  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const gone = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await gone;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    for (const server of this.#servers) await new Promise((resolve) => server.close(resolve));
    await removeAll(this.#home);
  }
}

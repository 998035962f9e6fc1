/** A Redis server for one test, on a free loopback port, with persistence. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inCi } from './config.ts';
import { freePort } from './ports.ts';
import { until } from './until.ts';

const START_MS = 60_000;
/** For one check whether it answers. */
const PROBE_MS = 1_000;
const TRIES = 5;
const PASSWORD = 'password-of-a-test';
const ADMIN = 'admin';

/** Why tests with Redis cannot run here; null: they can. In CI they must. */
export const lackingRedis: string | null =
  inCi() || spawnSync('redis-server', ['--version']).status === 0 ? null : 'there is no redis-server';

export class RedisServer implements AsyncDisposable {
  readonly port: number;
  readonly #home: string;
  #process: ChildProcess;

  private constructor(home: string, port: number, process: ChildProcess) {
    this.#home = home;
    this.port = port;
    this.#process = process;
  }

  static async start(): Promise<RedisServer> {
    const home = mkdtempSync(join(tmpdir(), 'redis-'));
    for (let tries = 1; ; tries += 1) {
      const port = await freePort();
      const server = new RedisServer(home, port, spawnServer(home, port));
      try {
        await server.#answers();
        return server;
      } catch (error) {
        // Another process may have taken the port.
        await server.kill();
        if (tries < TRIES) continue;
        rmSync(home, { recursive: true, force: true });
        throw error;
      }
    }
  }

  /** Includes its password: only the test's own gateways can connect. */
  url(database = 0): string {
    return `redis://:${PASSWORD}@127.0.0.1:${this.port}/${database}`;
  }

  /** Freezes it; its connections stay open. */
  freeze(): void {
    this.#process.kill('SIGSTOP');
  }

  thaw(): void {
    this.#process.kill('SIGCONT');
  }

  /**
   * Runs an administrator's command, which works whatever the password is.
   * @throws Error with the answer, unless it is OK
   */
  async order(...words: string[]): Promise<void> {
    const socket = connect(this.port, '127.0.0.1');
    try {
      await once(socket, 'connect');
      socket.setTimeout(PROBE_MS * 10, () => socket.destroy());
      socket.write(`AUTH ${ADMIN} ${PASSWORD}\r\n${words.join(' ')}\r\n`);
      let said = '';
      for await (const chunk of socket) if ((said += String(chunk)).split('\r\n').length > 2) break;
      if (!/^\+OK\r\n[+:]/.test(said)) throw new Error(`redis answered ${JSON.stringify(said)}`);
    } finally {
      socket.destroy();
    }
  }

  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const gone = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await gone;
  }

  /** Restarts it on the same port, with its persisted data, or empty. */
  async restart({ empty = false } = {}): Promise<void> {
    if (empty) rmSync(join(this.#home, 'appendonlydir'), { recursive: true });
    this.#process = spawnServer(this.#home, this.port);
    await this.#answers();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    rmSync(this.#home, { recursive: true, force: true });
  }

  async #answers(): Promise<void> {
    await until(
      async () => {
        if (this.#process.exitCode !== null) return true;
        const socket = connect(this.port, '127.0.0.1');
        try {
          await once(socket, 'connect');
          // While it loads its persisted data it answers with an error, and sends nothing afterwards.
          socket.setTimeout(PROBE_MS, () => socket.destroy());
          socket.write(`AUTH ${PASSWORD}\r\nPING\r\n`);
          for await (const chunk of socket) if (String(chunk).includes('+PONG')) return true;
          return false;
        } finally {
          socket.destroy();
        }
      },
      START_MS,
      'redis to answer',
    );
    if (this.#process.exitCode !== null) throw new Error(`redis-server ended with ${this.#process.exitCode}`);
  }
}

function spawnServer(home: string, port: number): ChildProcess {
  const settings = ['--bind', '127.0.0.1', '--port', String(port), '--dir', home, '--save', '', '--appendonly', 'yes'];
  const admin = ['--user', ADMIN, 'on', `>${PASSWORD}`, '~*', '&*', '+@all'];
  const more = ['--requirepass', PASSWORD, ...admin, '--maxmemory-policy', 'noeviction', '--daemonize', 'no'];
  return spawn('redis-server', [...settings, ...more], { stdio: 'ignore' });
}

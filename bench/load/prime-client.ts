/** The official Prime client as a child process that carries out one order at a time. */
import { execFile, spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { promisify } from 'node:util';
import { home } from '../../src/cli/config.ts';
import { environment } from '../config.ts';

const PROGRAM = join(import.meta.dirname, 'prime-client.py');
const SETUP = join(import.meta.dirname, '../../deploy/setup.sh');

export interface PrimeServer {
  url: string;
  apiKey: string;
  image: string;
  label: string;
  /** Directory for its own files. */
  directory: string;
}

export class PrimeClient implements AsyncDisposable {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #answers: AsyncIterator<string>;
  readonly #home: string;

  private constructor(python: string, { url, apiKey, image, label, directory }: PrimeServer) {
    this.#home = mkdtempSync(join(directory, 'prime-'));
    this.#child = spawn(python, [PROGRAM], {
      env: {
        ...environment(),
        HOME: this.#home,
        PRIME_API_BASE_URL: url,
        PRIME_API_KEY: apiKey,
        IMAGE: image,
        LABEL: label,
      },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child.stdin.on('error', () => undefined);
    this.#answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** @throws Error if the client is not installed and cannot be. */
  static async start(server: PrimeServer): Promise<PrimeClient> {
    const python = join(home(), 'prime-venvs/newest/bin/python');
    if (!existsSync(python)) await promisify(execFile)('bash', [SETUP, 'prime'], { env: environment() });
    if (!existsSync(python)) throw new Error('the official Prime client is not installed, and PyPI cannot be reached');
    return new PrimeClient(python, server);
  }

  async ask<T>(order: { do: string; [key: string]: unknown }): Promise<T> {
    this.#child.stdin.write(`${JSON.stringify(order)}\n`);
    const { value, done } = await this.#answers.next();
    if (done) throw new Error('the Prime client ended');
    return JSON.parse(value) as T;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const gone = once(this.#child, 'exit');
      this.#child.kill('SIGKILL');
      await gone;
    }
    rmSync(this.#home, { recursive: true, force: true });
  }
}

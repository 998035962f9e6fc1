/** Sandboxes of a bench run: created with one label, gone at its end. */
import { readFileSync } from 'node:fs';
import type { Millibox, Sandbox } from '../../src/sdk/index.ts';
import { sleep } from '../../src/lib/deadline.ts';
import { spread } from './concurrency.ts';

/** Path of the native baselines' static program in a sandbox. */
export const TRUE_INSIDE = '/tmp/millibox-true';

export class Sandboxes implements AsyncDisposable {
  readonly #client: Millibox;
  readonly #image: string;
  readonly #all = new Set<Sandbox>();
  readonly label = `bench-${process.pid}-${Date.now().toString(36)}`;

  constructor(client: Millibox, image: string) {
    this.#client = client;
    this.#image = image;
  }

  create(options: { image?: string; memoryMb?: number; timeoutMs?: number } = {}): Sandbox {
    const sandbox = this.#client.sandboxes.create({
      image: this.#image,
      timeoutMs: 3_600_000,
      ...options,
      labels: { bench: this.label },
    });
    this.#all.add(sandbox);
    return sandbox;
  }

  async delete(sandbox: Sandbox): Promise<void> {
    await sandbox.delete();
    this.#all.delete(sandbox);
  }

  /** `count` running sandboxes, each with the static `true` in it. */
  async withTrue(count: number, trueFile: string): Promise<Sandbox[]> {
    const bytes = readFileSync(trueFile);
    const made: Sandbox[] = [];
    await spread(count, 8, async () => {
      const sandbox = this.create();
      await mustSucceed(sandbox.exec(`cat > ${TRUE_INSIDE} && chmod 755 ${TRUE_INSIDE}`, { stdin: bytes }));
      made.push(sandbox);
    });
    return made;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await spread(this.#all.size, 32, async () => {
      const [sandbox] = this.#all;
      if (sandbox === undefined) return;
      this.#all.delete(sandbox);
      await sandbox.delete().catch(() => undefined);
    });
  }
}

/** Rejects unless the exec exits with 0. */
export async function mustSucceed(exec: PromiseLike<{ exitCode: number; stderr: string }>): Promise<void> {
  const { exitCode, stderr } = await exec;
  if (exitCode !== 0) throw new Error(`exit ${exitCode} ${stderr.slice(0, 200)}`.trim());
}

/** Polls until `done` resolves to true. For the idle time between measurements, never inside one. */
export async function settle(done: () => Promise<boolean>, limitMs: number, what: string): Promise<void> {
  const end = performance.now() + limitMs;
  while (!(await done())) {
    if (performance.now() > end) throw new Error(`${what} took longer than ${limitMs} ms`);
    await sleep(50);
  }
}

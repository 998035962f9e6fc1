/** The bare native baseline: boxinit's sibling `spawn-loop`, which does nothing but posix_spawn, read and wait. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** `spawn-loop --serve PROGRAM`: each line requests one spawn, and is answered with its latency in milliseconds. */
export class SpawnServer implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #waiting: { resolve: (line: string) => void; reject: (error: Error) => void }[] = [];
  #rest = '';

  constructor(file: string, program: string) {
    this.#child = spawn(file, ['--serve', program], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#take(text));
    this.#child.on('error', (error) => this.#end(error));
    this.#child.on('exit', (code, signal) => this.#end(new Error(`spawn-loop ended (${signal ?? code})`)));
  }

  /**
   * Makes the loop run its program once. Returns milliseconds as measured by the loop itself, without the round trip to
   * it.
   */
  async once(): Promise<number> {
    const line = await new Promise<string>((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#child.stdin?.write('\n');
    });
    const ms = Number(line);
    if (!(ms > 0)) throw new Error(`spawn-loop said ${line}`);
    return ms;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.#child.kill();
    await gone;
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#waiting.shift()?.resolve(line);
  }

  #end(error: Error): void {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}

/** The bare loop, `n` spawns over this many threads. Returns programs run per second. */
export async function spawnLoopRate(file: string, program: string, threads: number, n: number): Promise<number> {
  const { stdout } = await run(file, ['--threads', String(threads), '--n', String(n), program], {
    timeout: 120_000,
    maxBuffer: 256 * 1024 * 1024,
  });
  const { wallMs } = JSON.parse(stdout) as { wallMs: number };
  return (n * 1000) / wallMs;
}

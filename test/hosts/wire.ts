/**
 * A slow wire at the bridge (wire.py) in place of a host's own. It takes over the name of the port at the bridge, so
 * that cuts and loss configured there remain.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface, type Interface } from 'node:readline';

const ANSWER_MS = 60_000;
const MAX_MS = 60_000;

/** Why slow wires cannot be created here; empty if they can. */
export const lackingForWires = (): string => (existsSync('/dev/net/tun') ? '' : '/dev/net/tun');

export class Wire implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #said: Interface;
  readonly #answers: AsyncIterator<string>;

  /** Creates the devices `near` and `far`, down and unconnected, in this namespace. */
  static async lay(netns: string, near: string, far: string): Promise<Wire> {
    const program = path.join(import.meta.dirname, 'wire.py');
    const inside = [`--net=/run/netns/${netns}`, '--', 'python3', program, near, far];
    const wire = new Wire(spawn('nsenter', inside, { stdio: ['pipe', 'pipe', 'inherit'] }));
    try {
      await wire.#answer();
      return wire;
    } catch (error) {
      await wire[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(program: ChildProcess) {
    if (program.stdout === null) throw new Error('no output of the wire');
    this.#process = program;
    this.#process.on('error', () => undefined).stdin?.on('error', () => undefined);
    this.#said = createInterface({ input: program.stdout });
    this.#answers = this.#said[Symbol.asyncIterator]();
  }

  /** For frames that enter it from now on, in both directions; plus or minus `jitterMs`. */
  async set(delayMs: number, jitterMs: number): Promise<void> {
    if (!(delayMs >= 0 && jitterMs >= 0 && delayMs + jitterMs <= MAX_MS)) throw new Error('no such delay');
    this.#process.stdin?.write(`${delayMs} ${jitterMs}\n`);
    await this.#answer();
  }

  /** Packets in flight are lost, and its devices are removed. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#said.close();
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const gone = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await gone;
  }

  async #answer(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error('the wire does not answer')), ANSWER_MS);
    });
    try {
      const { done } = await Promise.race([this.#answers.next(), late]);
      if (done === true) throw new Error('the wire has ended');
    } finally {
      clearTimeout(timer);
    }
  }
}

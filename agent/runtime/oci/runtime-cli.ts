/** An OCI runtime (runc, crun, runsc), driven through its command line. */
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { withDeadline } from '../../../src/lib/deadline.ts';
import { namesIn } from '../../../src/lib/names-in.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { TOOLS_PATH } from '../../tools-path.ts';

const COMMAND_MS = 60_000;
const TOLD_BYTES = 2_000;

interface CommandOptions {
  /** Receives the runtime's output, and later that of the container's init process. */
  logPath: string;
  signal?: AbortSignal | undefined;
  deadlineMs?: number;
}

export class RuntimeCli {
  readonly program: string;
  readonly #stateDir: string;
  readonly #through: readonly string[];
  readonly #global: readonly string[];

  /**
   * `stateDir`: the runtime's own records of containers. `flags`: placed before the command. `through`: a wrapper
   * program that runs the command in its last arguments.
   */
  constructor(program: string, stateDir: string, flags: readonly string[] = [], through: readonly string[] = []) {
    this.program = program;
    this.#stateDir = stateDir;
    this.#through = through;
    this.#global = [...flags, '--root', stateDir];
  }

  /**
   * Creates and starts a container that is independent of this process and may outlive it.
   * @throws ServiceError `internal` with the runtime's output.
   */
  async run(id: string, bundle: string, pidFile: string, options: CommandOptions): Promise<void> {
    await this.#command(['run', '--detach', '--bundle', bundle, '--pid-file', pidFile, id], options);
  }

  /** Creates a container that waits for `start`. @throws ServiceError `internal` as `run`. */
  async create(id: string, bundle: string, pidFile: string, options: CommandOptions): Promise<void> {
    await this.#command(['create', '--bundle', bundle, '--pid-file', pidFile, id], options);
  }

  /** @throws ServiceError `internal` as `run`. */
  async start(id: string, options: CommandOptions): Promise<void> {
    await this.#command(['start', id], options);
  }

  /** Removes the runtime's record of a container whose processes and cgroups are gone. */
  async forget(id: string): Promise<void> {
    // Equivalent to the program's `delete`, without running it. The first is the directory of runc and crun, the others
    // are files of runsc, whose `delete` takes more than a second.
    const notes = [id, `${id}_sandbox:${id}.state`, `${id}_sandbox:${id}.lock`, `runsc-${id}.sock`];
    for (const note of notes) await rm(join(this.#stateDir, note), { recursive: true, force: true });
  }

  /** Ids of the containers that the runtime has a record of. @throws Error if they cannot be read. */
  async remembered(): Promise<string[]> {
    return await namesIn(this.#stateDir);
  }

  async #command(args: readonly string[], options: CommandOptions): Promise<void> {
    const { logPath, signal, deadlineMs = COMMAND_MS } = options;
    // A file, not a pipe: the container inherits it, and would keep a pipe open for as long as it lives.
    const log = openSync(logPath, 'a', 0o600);
    try {
      await withDeadline({ deadlineMs, signal, what: basename(this.program) }, async (linked) => {
        const ended = Promise.withResolvers<string | null>();
        const [file = '', ...rest] = [...this.#through, this.program, ...this.#global, ...args];
        const child = spawn(file, rest, {
          stdio: ['ignore', log, log],
          // Shields the container from the terminal's signals and from the end of this process.
          detached: true,
          env: { PATH: TOOLS_PATH },
          cwd: '/',
        });
        const kill = (): void => void child.kill('SIGKILL');
        linked.addEventListener('abort', kill, { once: true });
        child.once('error', (error) => ended.resolve(error.message));
        child.once('exit', (code, by) => ended.resolve(code === 0 ? null : `status ${by ?? code}`));
        const failure = await ended.promise;
        linked.removeEventListener('abort', kill);
        linked.throwIfAborted();
        if (failure !== null) throw await this.#error(args[0] ?? '', failure, logPath);
      });
    } finally {
      closeSync(log);
    }
  }

  async #error(command: string, failure: string, logPath: string): Promise<ServiceError> {
    const told = (await readFile(logPath, 'utf8').catch(() => '')).trim().slice(-TOLD_BYTES);
    return new ServiceError('internal', `${basename(this.program)} ${command} failed`, {
      cause: new Error(`${this.program} ${command} ended with ${failure}: ${told}`),
    });
  }
}

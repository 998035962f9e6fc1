/** `millibox` as used by a script. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { startCli } from '../../helpers/cli.ts';
import type { TestStack } from '../../helpers/stack.ts';
import { until } from '../../helpers/until.ts';
import {
  DoorError,
  type BytesOutcome,
  type Command,
  type Door,
  type JobDoor,
  type Live,
  type LiveOptions,
  type Outcome,
  type Piece,
  type RunOptions,
  type Running,
} from '../door.ts';

const WAIT_MS = 120_000;
/** The CLI's exit code for failures of the service; no command's own exit comes with a typed error line as well. */
const PLATFORM_FAILURE = 255;

interface Result {
  code: number | null;
  stdout: Buffer;
  stderr: Buffer;
}

interface Listed {
  execId: string;
  state: 'running' | 'exited';
  exit: { exitCode: number; signal: string | null } | null;
}

export class CliDoor implements Door {
  readonly name = 'CLI';
  readonly lacks = {
    cap: 'a script cuts with `head`',
    key: 'a script has no way to come back to a run',
    conflict: 'a script has no way to come back to a run',
    attach: 'a script that is gone does not come back; `millibox shell` and `logs -f` do',
    longText: 'the kernel hands a program no argument of more than 128 KiB',
    abandon: 'a command outlives a script that was killed by the minute that every stream has',
  };
  readonly hurry = 4;
  readonly #stack: TestStack;

  constructor(stack: TestStack) {
    this.#stack = stack;
  }

  async run(sandbox: string, command: Command, options: RunOptions = {}): Promise<Outcome> {
    const args = ['exec', '--json', ...flags(command, options), sandbox, '--', ...words(command)];
    const result = await this.#cli(args, options.stdin);
    return JSON.parse(result.stdout.toString()) as Outcome;
  }

  async runBytes(sandbox: string, command: Command, options: RunOptions = {}): Promise<BytesOutcome> {
    const args = ['exec', ...flags(command, options), sandbox, '--', ...words(command)];
    const { code, stdout, stderr } = await this.#cli(args, options.stdin, true);
    return { exitCode: code ?? -1, stdout, stderr };
  }

  async start(sandbox: string, command: Command): Promise<Running> {
    const id = await this.jobs.start(sandbox, command);
    const text = async (): Promise<string> => (await this.jobs.output(sandbox, id, 'stdout')).toString();
    return {
      saw: (what) => until(async () => (await text()).includes(what), WAIT_MS, `${what} in the output`),
      signal: async (name) => void (await this.#cli(['kill', sandbox, id, '-s', name])),
      kill: () => this.jobs.kill(sandbox, id),
      ended: async () => {
        let exit: Listed['exit'] = null;
        await until(async () => (exit = await this.#exit(sandbox, id)) !== null, WAIT_MS, 'the end of the command');
        return { ...(exit as unknown as NonNullable<Listed['exit']>), stdout: await text() };
      },
    };
  }

  live(sandbox: string, command: Command, options: LiveOptions = {}): Promise<Live> {
    const { stdin, timeoutMs } = options;
    const given = [...(stdin ? [] : ['--no-stdin']), ...flags(command, timeoutMs === undefined ? {} : { timeoutMs })];
    const child = startCli(this.#stack, ['exec', ...given, sandbox, '--', ...words(command)]);
    return Promise.resolve(new PipedExec(child));
  }

  readonly jobs: JobDoor = {
    start: async (sandbox, command) => {
      const { stdout } = await this.#cli(['exec', '-b', ...flags(command), sandbox, '--', ...words(command)]);
      return stdout.toString().trim();
    },
    state: async (sandbox, id) => {
      const found = await this.#find(sandbox, id);
      return { state: found.state, exitCode: found.exit?.exitCode ?? null };
    },
    output: async (sandbox, id, channel, tail) => {
      const from = tail === undefined ? [] : ['--tail', String(tail)];
      const which = channel === 'stderr' ? ['--stderr'] : [];
      return (await this.#cli(['logs', ...which, ...from, sandbox, id])).stdout;
    },
    kill: async (sandbox, id) => void (await this.#cli(['kill', sandbox, id, '-s', 'KILL'])),
  };

  async [Symbol.asyncDispose](): Promise<void> {
    // Every call is a process of its own, and has exited.
  }

  async #exit(sandbox: string, id: string): Promise<Listed['exit']> {
    return (await this.#find(sandbox, id)).exit;
  }

  async #find(sandbox: string, id: string): Promise<Listed> {
    const { stdout } = await this.#cli(['jobs', '--json', sandbox]);
    const found = (JSON.parse(stdout.toString()) as Listed[]).find(({ execId }) => execId === id);
    if (found === undefined) throw new DoorError('exec_not_found', `no exec ${id}`);
    return found;
  }

  /** @param any its exit code is the command's: only one that comes with an error line of `millibox` is a failure */
  async #cli(args: readonly string[], stdin: string | Buffer = '', any = false): Promise<Result> {
    const child = startCli(this.#stack, args);
    const ended = collect(child, () => undefined);
    child.stdin?.end(stdin);
    const result = await ended;
    const stderr = result.stderr.toString();
    const said = /^(?:millibox|error): ([^]*)/.exec(stderr)?.[1];
    if (result.code === 0 || (any && said === undefined)) return result;
    if (result.stdout.length > 0) throw new Error(`output beside a failure: ${result.stdout.toString()}`);
    const typed = /\(([a-z_]+)\)\s*(?:\n {2}.*\n)?$/.exec(said ?? '')?.[1];
    if (typed !== undefined && result.code === PLATFORM_FAILURE) throw new DoorError(typed, said ?? '');
    // Input that the program itself does not read is not sent.
    if (stderr.startsWith('error: option')) throw new DoorError('invalid_request', stderr);
    throw new Error(`exit ${result.code} of ${args[0]}: ${stderr}`);
  }
}

function flags(command: Command, { cwd, env = {}, user, timeoutMs }: RunOptions = {}): string[] {
  return [
    ...(typeof command === 'string' ? ['-s'] : []),
    ...(cwd === undefined ? [] : ['-w', cwd]),
    ...(user === undefined ? [] : ['-u', user]),
    ...(timeoutMs === undefined ? [] : [`--timeout=${timeoutMs}ms`]),
    ...Object.entries(env).flatMap(([name, value]) => ['-e', `${name}=${value}`]),
  ];
}

const words = (command: Command): readonly string[] => (typeof command === 'string' ? [command] : command);

async function collect(child: ChildProcess, each: (piece: Piece) => void): Promise<Result> {
  const all: Record<Piece['channel'], Buffer[]> = { stdout: [], stderr: [] };
  // A command that exits without reading its input closes the pipe.
  child.stdin?.on('error', () => undefined);
  for (const channel of ['stdout', 'stderr'] as const) {
    child[channel]?.on('data', (bytes: Buffer) => {
      all[channel].push(bytes);
      each({ channel, bytes });
    });
  }
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout: Buffer.concat(all.stdout), stderr: Buffer.concat(all.stderr) };
}

/** `millibox exec` between pipes. */
class PipedExec implements Live {
  readonly id = '';
  readonly pieces: Piece[] = [];
  readonly lost = [];
  readonly ended: Promise<{ exitCode: number }>;
  readonly #child: ChildProcess;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.ended = collect(child, (piece) => this.pieces.push(piece)).then(({ code }) => ({ exitCode: code ?? -1 }));
  }

  async saw(text: string): Promise<void> {
    const all = (): string => Buffer.concat(this.pieces.map(({ bytes }) => bytes)).toString();
    await until(() => all().includes(text), WAIT_MS, `${text} in the output`);
  }

  async write(data: string | Buffer): Promise<void> {
    await new Promise<void>((resolve) => this.#child.stdin?.write(data, () => resolve()));
  }

  closeStdin(): void {
    this.#child.stdin?.end();
  }

  leave(): Promise<void> {
    this.#child.kill('SIGKILL');
    return Promise.resolve();
  }
}

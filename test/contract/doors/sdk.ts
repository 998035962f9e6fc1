/** The SDK. */
import { Buffer } from 'node:buffer';
import type { ExecHandle, Millibox, Sandbox } from '../../../src/sdk/index.ts';
import type { TestStack } from '../../helpers/stack.ts';
import { until } from '../../helpers/until.ts';
import type {
  BytesOutcome,
  Command,
  Door,
  JobDoor,
  Live,
  LiveOptions,
  Outcome,
  Piece,
  RunOptions,
  Running,
} from '../door.ts';

const WAIT_MS = 60_000;

export class SdkDoor implements Door {
  readonly name = 'SDK';
  readonly lacks = { conflict: 'an id is free again once its exit was taken' };
  readonly hurry = 200;
  readonly #stack: TestStack;
  readonly #client: Millibox;

  constructor(stack: TestStack) {
    this.#stack = stack;
    this.#client = stack.newClient();
  }

  async run(sandbox: string, command: Command, options: RunOptions = {}): Promise<Outcome> {
    return await (await this.#at(sandbox)).exec(command, given(options));
  }

  async runBytes(sandbox: string, command: Command, options: RunOptions = {}): Promise<BytesOutcome> {
    return await (await this.#at(sandbox)).exec(command, { ...given(options), encoding: 'bytes' });
  }

  async start(sandbox: string, command: Command): Promise<Running> {
    let text = '';
    const exec = (await this.#at(sandbox)).exec(command, { onStdout: (data) => void (text += data) });
    exec.result.catch(() => undefined);
    return {
      saw: (what) => until(() => text.includes(what), WAIT_MS, `${what} in the output`),
      signal: (name) => Promise.resolve(exec.signal(name)),
      kill: () => Promise.resolve(exec.kill()),
      ended: () => exec.result,
    };
  }

  async live(sandbox: string, command: Command, options: LiveOptions = {}): Promise<Live> {
    const { stdin, ...rest } = options;
    const client = this.#stack.newClient();
    const exec = (await client.sandboxes.get(sandbox)).exec(command, {
      ...rest,
      ...(stdin ? { stdin: true as const } : {}),
      encoding: 'bytes',
    });
    return follow(client, exec);
  }

  async attach(sandbox: string, id: string): Promise<Live> {
    const client = this.#stack.newClient();
    return follow(client, (await client.sandboxes.get(sandbox)).attach(id, { encoding: 'bytes' }));
  }

  async abandon(sandbox: string, command: string): Promise<void> {
    const client = this.#stack.newClient();
    const exec = (await client.sandboxes.get(sandbox)).exec(command, { detachedMs: 500 });
    exec.result.catch(() => undefined);
    await exec.started;
    await client.close();
  }

  readonly jobs: JobDoor = {
    start: async (sandbox, command) => (await (await this.#at(sandbox)).jobs.start(command)).id,
    state: async (sandbox, id) => {
      const { state, exit } = await (await this.#at(sandbox)).jobs.get(id).state();
      return { state, exitCode: exit?.exitCode ?? null };
    },
    output: async (sandbox, id, channel, tail) =>
      await (await this.#at(sandbox)).jobs.get(id).output(channel, tail === undefined ? {} : { offset: -tail }),
    kill: async (sandbox, id) => await (await this.#at(sandbox)).jobs.get(id).kill(),
  };

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.close();
  }

  async #at(sandbox: string): Promise<Sandbox> {
    return await this.#client.sandboxes.get(sandbox);
  }
}

function given({ key, ...options }: RunOptions): Omit<RunOptions, 'key'> & { id?: string } {
  return { ...options, ...(key === undefined ? {} : { id: key }) };
}

function follow(client: Millibox, exec: ExecHandle<'bytes'>): Live {
  const pieces: Piece[] = [];
  const lost: { channel: string; from: number; to: number }[] = [];
  const ended = (async () => {
    try {
      for await (const event of exec) {
        if (event.type === 'exit') return { exitCode: event.exitCode };
        if (event.type === 'output_lost') lost.push(event);
        else pieces.push({ channel: event.type, bytes: Buffer.from(event.data) });
      }
      throw new Error('the output ended without an exit');
    } finally {
      await client.close();
    }
  })();
  ended.catch(() => undefined);
  const text = (): string => Buffer.concat(pieces.map(({ bytes }) => bytes)).toString();
  return {
    id: exec.id,
    pieces,
    lost,
    saw: (what) => until(() => text().includes(what), WAIT_MS, `${what} in the output`),
    write: (data) => exec.write(data),
    closeStdin: () => exec.closeStdin(),
    leave: () => client.close(),
    ended,
  };
}

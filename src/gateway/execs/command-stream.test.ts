import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Json, MuxStream, StreamHandler } from '../../mux/index.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { Channel } from '../../protocol/frames.ts';
import { CommandStream, type CommandStreamOptions } from './command-stream.ts';
import { programOf } from './program.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const RESUME_MS = 20_000;
const MINUTE_MS = 60_000;

/** A command, its streams as its node sees them, and what its listener is told. */
function following(options: Partial<CommandStreamOptions> = {}) {
  const streams: { request: Json; handler: StreamHandler; told: string[] }[] = [];
  const open = (request: Json, handler: StreamHandler): MuxStream => {
    const told: string[] = [];
    streams.push({ request, handler, told });
    const stream = {
      urgent: ({ type }: Json) => void told.push(String(type)),
      reset: ({ code }: ServiceError) => void told.push(`reset ${code}`),
      end: () => void told.push('end'),
      consume: () => undefined,
    };
    return stream as unknown as MuxStream;
  };
  const said: string[] = [];
  const command = new CommandStream({
    program: programOf({ command: 'x', encoding: 'utf8' }, { sandbox: 'sbx', id: 'exe', detachedMs: 0 }),
    locate: () => Promise.resolve({ open }),
    resumeMs: RESUME_MS,
    keepExit: false,
    listener: {
      opened: () => void said.push('opened'),
      output: (_channel, bytes) => void said.push(Buffer.from(bytes).toString()),
      exited: ({ exitCode }) => void said.push(`exit ${exitCode}`),
      failed: ({ code }) => void said.push(code),
    },
    ...options,
  });
  /** The newest stream, once everything in progress has settled. */
  const newest = async () => {
    await vi.advanceTimersByTimeAsync(2_000);
    const stream = streams.at(-1);
    if (stream === undefined) throw new Error('no stream was opened');
    return stream;
  };
  return { command, said, streams, newest };
}

const exit = {
  type: 'exit',
  exitCode: 3,
  signal: null,
  timedOut: false,
  oomKilled: false,
  stdoutBytes: 0,
  stderrBytes: 0,
  durationMs: 1,
};
const code = (name: ConstructorParameters<typeof ServiceError>[0]) => new ServiceError(name);

test('after a cut a command is opened again until it is known to run, and from then on attached to at its offset', async () => {
  const { said, streams, newest } = following();
  (await newest()).handler.closed?.(code('interrupted'));
  const second = await newest();
  second.handler.opened?.({});
  second.handler.data?.(Channel.STDOUT, Buffer.from('abc'));
  second.handler.event?.({ type: 'output_lost', channel: 'stderr', from: 0, to: 7 });
  second.handler.closed?.(code('node_unavailable'));
  (await newest()).handler.event?.(exit);
  expect(streams.map(({ request }) => request['op'])).toEqual(['exec', 'exec', 'attach']);
  expect(streams[2]?.request).toMatchObject({ id: 'exe', stdout: 3, stderr: 7 });
  expect(said).toEqual(['opened', 'abc', 'exit 3']);
});

test('the outcome of a command that does not come back in time is unknown, once it was sent', async () => {
  const { said, streams } = following();
  const cutting = setInterval(() => streams.at(-1)?.handler.closed?.(code('node_unavailable')), 500);
  await vi.advanceTimersByTimeAsync(RESUME_MS + MINUTE_MS);
  clearInterval(cutting);
  expect(said).toEqual(['interrupted']);
});

test('a node that stays away before anything was sent is reported as the reason at once', async () => {
  const { said } = following({ locate: () => Promise.reject(code('node_unavailable')) });
  await vi.advanceTimersByTimeAsync(0);
  expect(said).toEqual(['node_unavailable']);
});

test('a kill before the answer keeps the command from starting', async () => {
  const { command, said, newest } = following();
  const { told } = await newest();
  command.kill();
  expect(told).toEqual(['kill', 'reset cancelled']);
  expect(said).toEqual(['cancelled']);
});

test('a kill of a running command waits for its exit, up to a limit', async () => {
  const { command, said, newest } = following();
  const { handler, told } = await newest();
  handler.opened?.({});
  command.kill();
  await vi.advanceTimersByTimeAsync(5_000);
  expect([told, said]).toEqual([['kill'], ['opened']]);
  await vi.advanceTimersByTimeAsync(MINUTE_MS);
  expect([told, said]).toEqual([
    ['kill', 'reset cancelled'],
    ['opened', 'cancelled'],
  ]);
});

test.each([
  ['a command that ran and is unknown now was interrupted', undefined, 'interrupted'],
  ['a command of another gateway that is unknown was not found', { stdout: 5, stderr: 0 }, 'exec_not_found'],
])('%s', async (_rule, attachAt, expected) => {
  const { said, newest } = following({ attachAt });
  const first = await newest();
  first.handler.opened?.({});
  first.handler.closed?.(code('interrupted'));
  (await newest()).handler.closed?.(code('exec_not_found'));
  expect(said).toEqual(['opened', expected]);
});

test.each([
  ['an exit that was taken is acknowledged by the last word', false, ['end']],
  ['an exit that others may ask for stays with the node', true, ['reset cancelled']],
])('%s', async (_rule, keepExit, expected) => {
  const { newest } = following({ keepExit });
  const { handler, told } = await newest();
  handler.opened?.({});
  handler.event?.(exit);
  if (!keepExit) handler.fin?.(Channel.ALL);
  expect(told).toEqual(expected);
});

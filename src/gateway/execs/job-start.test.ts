import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Json, MuxStream, StreamHandler } from '../../mux/index.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { startInBackground } from './job.ts';
import { programOf } from './program.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const MINUTE_MS = 60_000;

/** A start on a node that answers when the test says so, and what the node received. */
function starting(signal?: AbortSignal) {
  const told: string[] = [];
  const handlers: StreamHandler[] = [];
  const open = (_request: Json, handler: StreamHandler): MuxStream => {
    handlers.push(handler);
    const stream = {
      closed: false,
      urgent: (message: Json) => void told.push(String(message['type'])),
      reset(error: ServiceError) {
        this.closed = true;
        told.push(`reset ${error.code}`);
      },
    };
    return stream as unknown as MuxStream;
  };
  const program = programOf(
    { command: 'train', background: true, encoding: 'utf8' },
    { sandbox: 'sbx', id: 'exe-one', detachedMs: 0 },
  );
  const outcome = startInBackground({
    program,
    locate: () => Promise.resolve({ open }),
    resumeMs: 20_000,
    signal,
  }).then(
    () => 'started',
    (error: unknown) => ServiceError.from(error).code,
  );
  return { outcome, told, opened: () => handlers[0]?.opened?.({ pid: 7 }) };
}

test('a job waits for a sandbox that takes minutes to start, as while an image is pulled', async () => {
  const { outcome, told, opened } = starting();
  await vi.advanceTimersByTimeAsync(20 * MINUTE_MS);
  expect(told).toEqual([]);
  opened();
  expect(await outcome).toBe('started');
});

test('a job whose caller has gone before it started does not run', async () => {
  const caller = new AbortController();
  const { outcome, told } = starting(caller.signal);
  await vi.advanceTimersByTimeAsync(MINUTE_MS);
  caller.abort(new ServiceError('cancelled'));
  expect(await outcome).toBe('cancelled');
  expect(told).toEqual(['kill', 'reset cancelled']);
});

test('if the node never starts a job, the error does not claim that nothing was done, and it does not run later', async () => {
  const { outcome, told } = starting();
  await vi.advanceTimersByTimeAsync(61 * MINUTE_MS);
  expect(await outcome).toBe('interrupted');
  expect(told).toEqual(['kill', 'reset cancelled']);
});

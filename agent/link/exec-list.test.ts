import { expect, test } from 'vitest';
import type { ExecExit, ExecState } from '../../src/protocol/exec.ts';
import { MAX_CONTROL_BYTES } from '../../src/protocol/limits.ts';
import type { Json } from '../../src/mux/index.ts';
import type { Sandbox } from '../sandboxes/sandbox.ts';
import { jsonBytes } from './fitting.ts';
import { listExecs } from './exec-list.ts';

const EXIT = { exitCode: 0, signal: null, timedOut: false, oomKilled: false, durationMs: 1 } as ExecExit;
const job = (execId: string, exit: ExecExit | null): ExecState => {
  const state = exit === null ? 'running' : 'exited';
  const startedAt = new Date(0).toISOString();
  return { execId, state, background: true, startedAt, stdoutBytes: 0, stderrBytes: 0, exit };
};

/** A sandbox whose boxinit answers with this function. */
function sandboxWith(call: (message: Json) => Json): Sandbox {
  const launched = { link: { call: (message: Json) => Promise.resolve(call(message)) } };
  return {
    running: true,
    ended: false,
    launched,
    whenRelinkedOrEnded: (_ms: number, then: () => void) => then(),
  } as never;
}

test('a list too long for one message is cut to fit, keeps running commands, and is flagged', async () => {
  const ended = Array.from({ length: 10_000 }, (_, i) => job(`exe-${i}`, EXIT));
  const jobs = [...ended, job('exe-running', null)];
  const list = await listExecs(
    sandboxWith(() => ({ execs: [] })),
    undefined,
    () => jobs,
  );
  expect(list.execs[0]?.execId).toBe('exe-running');
  expect(list.execs.length).toBeGreaterThan(1_000);
  expect(list.more).toBe(true);
  expect(jsonBytes(list)).toBeLessThanOrEqual(MAX_CONTROL_BYTES);
});

test('boxinit is asked only about commands that are not jobs, and unknown ids are flagged', async () => {
  const asked: Json[] = [];
  const sandbox = sandboxWith((message) => {
    asked.push(message);
    return { execs: [], more: message['ids'] === undefined };
  });
  const jobs = (): ExecState[] => [job('exe-job', EXIT)];
  expect(await listExecs(sandbox, ['exe-job'], jobs)).toEqual({ execs: jobs() });
  expect(await listExecs(sandbox, ['exe-job', 'exe-other'], jobs)).toEqual({ execs: jobs() });
  expect(await listExecs(sandbox, undefined, jobs)).toEqual({ execs: jobs(), more: true });
  expect(asked).toEqual([{ op: 'list', ids: ['exe-other'] }, { op: 'list' }]);
});

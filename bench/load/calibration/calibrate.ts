/** What the generators themselves cost and can do: the same calls, against a server that does nothing. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { withDeadline } from '../../../src/lib/deadline.ts';
import { environment } from '../../config.ts';
import type { Row } from '../../report/statistics.ts';
import type { Fleet } from '../fleet/fleet.ts';

const PROGRAM = join(import.meta.dirname, 'noop-server.ts');
const START_LIMIT_MS = 30_000;
const ALONE_MS = 1_500;
const MANY_MS = 2_500;

export interface Calibration {
  rows: Row[];
  /** Commands per second that the generators reach when the service costs next to nothing. */
  execsPerSec: number;
}

/** @param callers as many as in the run, so that the result is a ceiling for that run */
export async function calibrate(
  fleet: Fleet,
  callers: number,
  { aloneMs = ALONE_MS, manyMs = MANY_MS } = {},
): Promise<Calibration> {
  const child = fork(PROGRAM, [], { env: environment(), stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  try {
    const [{ url }] = (await withDeadline({ deadlineMs: START_LIMIT_MS, what: 'the no-op server' }, () =>
      once(child, 'message'),
    )) as [{ url: string }];
    const plan = {
      workload: 'exec-closed',
      server: { url, apiKey: 'none' },
      image: 'none',
      label: 'calibration',
      seed: 1,
    } as const;
    const alone = await fleet.run({ ...plan, callers: 1, durationMs: aloneMs });
    const many = await fleet.run({ ...plan, callers, durationMs: manyMs });
    const manyRow = many.recording.series('exec').row(`no-op.exec.${callers}-callers`, many.elapsedMs);
    return {
      rows: [alone.recording.series('exec').row('no-op.exec.alone', alone.elapsedMs), manyRow],
      execsPerSec: manyRow.perSec,
    };
  } finally {
    await end(child);
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

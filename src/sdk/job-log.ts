/** A job's log, read in windows: of any size in constant memory, and over plain HTTP. */
import { sleep } from '../lib/deadline.ts';
import { CUTS } from '../protocol/cuts.ts';
import { ServiceError } from '../protocol/errors.ts';
import type { ExecOutputEvent, ChannelName } from './exec/result.ts';
import { pauseMs } from './http.ts';
import type { Job } from './jobs.ts';

export type LogEvent = Extract<ExecOutputEvent<Buffer>, { type: ChannelName | 'output_lost' }>;

export interface ReadOptions {
  /** From the start; negative: from the current end. */
  offset?: number | undefined;
  /** At most this many bytes. Default: everything so far, or with `follow` everything. */
  length?: number | undefined;
  /** Continue until the job has ended. */
  follow?: boolean | undefined;
  signal?: AbortSignal | undefined;
}

export interface FollowOptions {
  /** Where to begin, as in `read`. Default: at the first byte. */
  stdout?: number | undefined;
  stderr?: number | undefined;
  signal?: AbortSignal | undefined;
}

const WINDOW_BYTES = 1024 * 1024;
const WAIT_MS = 20_000;
const SLACK_MS = 60_000;
/** How long to wait for a job whose node went away. */
const PATIENCE_MS = 60_000;

/** @throws ServiceError `exec_not_found`, `sandbox_ended`, `invalid_request` while another client is attached */
export async function* readLog(job: Job, channel: ChannelName, options: ReadOptions): AsyncGenerator<LogEvent> {
  const { follow = false, signal } = options;
  const now = await job.state({ signal });
  const total = channel === 'stdout' ? now.stdoutBytes : now.stderrBytes;
  const from = options.offset ?? 0;
  let at = from < 0 ? Math.max(0, total + from) : from;
  const end = Math.min(follow ? Infinity : total, at + (options.length ?? Infinity));
  let ended = now.exit !== null;
  while (at < end) {
    const window = { offset: at, length: Math.min(WINDOW_BYTES, end - at), waitMs: follow && !ended ? WAIT_MS : 0 };
    try {
      const data = await patiently(
        () => job.output(channel, { ...window, signal, deadlineMs: WAIT_MS + SLACK_MS }),
        signal,
      );
      at += data.length;
      if (data.length > 0) yield { type: channel, data };
      else if (ended) return;
      // Output written before its end was seen may still be unread.
      else ended = (await patiently(() => job.state({ signal }), signal)).exit !== null;
    } catch (error) {
      const to = error instanceof ServiceError && error.code === 'output_lost' ? error.details?.['to'] : undefined;
      if (typeof to !== 'number' || to <= at) throw error;
      yield { type: 'output_lost', channel, from: at, to: Math.min(to, end) };
      at = to;
    }
  }
}

/** Both channels as they arrive. @throws as `readLog` */
export async function* followJob(job: Job, options: FollowOptions): AsyncGenerator<ExecOutputEvent<Buffer>> {
  const stop = new AbortController();
  const onAbort = (): void => stop.abort(options.signal?.reason);
  options.signal?.addEventListener('abort', onAbort, { once: true });
  if (options.signal?.aborted) onAbort();
  const next = async (log: AsyncGenerator<LogEvent>) => ({ log, item: await log.next() });
  const pending = new Map(
    (['stdout', 'stderr'] as const).map((channel) => {
      const log = readLog(job, channel, { offset: options[channel] ?? 0, follow: true, signal: stop.signal });
      return [log, next(log)];
    }),
  );
  try {
    while (pending.size > 0) {
      const { log, item } = await Promise.race(pending.values());
      if (item.done) pending.delete(log);
      else {
        yield item.value;
        pending.set(log, next(log));
      }
    }
    yield { type: 'exit', ...(await job.wait({ signal: options.signal })).exit };
  } finally {
    for (const rest of pending.values()) rest.catch(() => undefined);
    stop.abort(new ServiceError('cancelled'));
    options.signal?.removeEventListener('abort', onAbort);
  }
}

/** Safe to retry: the job is on its node, whatever happens to the connections in between. */
async function patiently<T>(ask: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  const until = performance.now() + PATIENCE_MS;
  for (let tries = 1; ; tries++) {
    try {
      return await ask();
    } catch (error) {
      const cut = error instanceof ServiceError && CUTS.has(error.code);
      if (!cut || performance.now() > until) throw error;
      await sleep(pauseMs(tries), signal);
    }
  }
}

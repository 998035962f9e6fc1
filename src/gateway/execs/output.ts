/** A window of the output that a command's runner still keeps. */
import type { Opener } from '../nodes/unary.ts';
import type { MuxStream } from '../../mux/index.ts';
import { withDeadline } from '../../lib/deadline.ts';
import { ServiceError } from '../../protocol/errors.ts';
import type { ExecState } from '../../protocol/exec.ts';
import { Channel } from '../../protocol/frames.ts';
import { MAX_MAX_OUTPUT_BYTES } from '../../protocol/limits.ts';

export interface WindowRequest {
  channel: 'stdout' | 'stderr';
  /** From the start; negative: from the end. */
  offset: number;
  length?: number | undefined;
}

export interface OutputWindow {
  bytes: Buffer;
  /** Of the first byte. */
  offset: number;
  /** Bytes that the command has written to this channel so far. */
  total: number;
}

const READ_DEADLINE_MS = 30_000;

/**
 * Reads by attaching, which takes the streams from whoever listens: so it is for commands in the background and for
 * those that have exited.
 * @throws ServiceError `output_lost` with `{ from, to }` in details, `body_too_large`, `invalid_request`
 */
export async function readOutput(
  node: Opener,
  sandbox: string,
  state: ExecState,
  window: WindowRequest,
): Promise<OutputWindow> {
  if (!state.background && state.state === 'running') {
    throw new ServiceError('invalid_request', 'Somebody listens to this command: its output goes there.');
  }
  const total = window.channel === 'stdout' ? state.stdoutBytes : state.stderrBytes;
  const fromEnd = window.offset < 0;
  const offset = fromEnd ? Math.max(0, total + window.offset) : window.offset;
  const length = Math.min(window.length ?? Infinity, Math.max(0, total - offset));
  if (length === 0) return { bytes: Buffer.alloc(0), offset: Math.min(offset, total), total };
  if (length > MAX_MAX_OUTPUT_BYTES) {
    throw new ServiceError('body_too_large', `a window has at most ${MAX_MAX_OUTPUT_BYTES} bytes`);
  }
  let stream: MuxStream | null = null;
  try {
    return await withDeadline({ deadlineMs: READ_DEADLINE_MS, what: 'reading the output' }, () => {
      const done = Promise.withResolvers<OutputWindow>();
      const chunks: Buffer[] = [];
      let start = offset;
      let got = 0;
      const finish = (): void => done.resolve({ bytes: Buffer.concat(chunks, got), offset: start, total });
      const wanted = window.channel === 'stdout' ? Channel.STDOUT : Channel.STDERR;
      const other =
        window.channel === 'stdout'
          ? { stdout: offset, stderr: state.stderrBytes }
          : { stdout: state.stdoutBytes, stderr: offset };
      const opened = node.open(
        { op: 'attach', sandbox, id: state.execId, ...other },
        {
          data: (channel, bytes) => {
            opened.consume(bytes.length);
            if (channel !== wanted && !(channel === Channel.PTY && wanted === Channel.STDOUT)) return;
            const room = offset + length - start - got;
            const kept = Buffer.from(bytes.subarray(0, Math.max(0, room)));
            chunks.push(kept);
            got += kept.length;
            if (start + got >= offset + length) finish();
          },
          event: (message) => {
            if (message['type'] === 'exit') return finish();
            if (message['type'] !== 'output_lost' || message['channel'] !== window.channel) return;
            const to = Number(message['to']);
            if (!fromEnd) {
              const details = { from: offset, to };
              return done.reject(new ServiceError('output_lost', undefined, { details }));
            }
            start = Math.min(to, offset + length);
            if (start >= offset + length) finish();
          },
          // All that there was: less than was announced, if the ring has moved on meanwhile.
          fin: (channel) => {
            if (channel === Channel.ALL) finish();
          },
          closed: (error) => done.reject(error ?? new ServiceError('interrupted')),
        },
      );
      stream = opened;
      return done.promise;
    });
  } finally {
    // Not acknowledged: the exit stays with the runner. The type system does not see the assignment above.
    (stream as MuxStream | null)?.reset(new ServiceError('cancelled'));
  }
}

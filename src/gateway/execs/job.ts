/** Starting a command in the background: the gateway lets go of it as soon as it runs and has its stdin. */
import { withDeadline, sleep } from '../../lib/deadline.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { Channel } from '../../protocol/frames.ts';
import type { Opener } from '../nodes/unary.ts';
import { sendBytes } from '../streams/send.ts';
import type { Program } from './program.ts';

export interface JobOptions {
  program: Program;
  locate(signal: AbortSignal): Promise<Opener>;
  /** How long to try again after a cut. */
  resumeMs: number;
  signal?: AbortSignal | undefined;
}

/** From the sandbox being there until the command runs. */
const START_DEADLINE_MS = 60_000;
const PAUSE_MS = 100;

/** @throws ServiceError as refused; `interrupted` when it is unknown whether it runs. */
export async function startInBackground(options: JobOptions): Promise<void> {
  const signal = options.signal ?? new AbortController().signal;
  let sent = false;
  for (const until = performance.now() + options.resumeMs; ;) {
    try {
      const node = await options.locate(signal);
      sent = true;
      await withDeadline({ signal, deadlineMs: START_DEADLINE_MS, what: 'starting the command' }, () =>
        open(node, options.program),
      );
      return;
    } catch (thrown) {
      const error = ServiceError.from(thrown);
      // The same id runs once: it may be sent again.
      const cut = sent && (error.code === 'interrupted' || error.code === 'node_unavailable');
      if (!cut || performance.now() > until) {
        throw cut ? new ServiceError('interrupted', undefined, { cause: error }) : error;
      }
      await sleep(PAUSE_MS, signal);
    }
  }
}

function open(node: Opener, { open: request, script, stdin }: Program): Promise<void> {
  const started = Promise.withResolvers<void>();
  const letGo = (): void => stream.reset(new ServiceError('cancelled'));
  const stream = node.open(request, {
    opened: () => {
      started.resolve();
      // With stdin the stream stays until the command's end: only then is it certain that all of it was read.
      if (stdin === null) queueMicrotask(letGo);
    },
    data: (_channel, bytes) => stream.consume(bytes.length),
    event: (message) => {
      if (message['type'] === 'exit') letGo();
    },
    closed: (error) => started.reject(error ?? new ServiceError('interrupted')),
  });
  const send = async (): Promise<void> => {
    if (script !== null) {
      await sendBytes(stream, Channel.SCRIPT, script);
      stream.fin(Channel.SCRIPT);
    }
    if (stdin === null) return;
    await sendBytes(stream, Channel.STDIN, stdin);
    stream.fin(Channel.STDIN);
  };
  send().catch((error: unknown) => stream.reset(ServiceError.from(error)));
  return started.promise;
}

/** Reading the exit of an ended command without acknowledging it. */
import { withDeadline } from '../../lib/deadline.ts';
import type { MuxStream } from '../../mux/index.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { ExecExit, type ExecState } from '../../protocol/exec.ts';
import { Channel } from '../../protocol/frames.ts';
import type { Opener } from '../nodes/unary.ts';

const DEADLINE_MS = 10_000;

/**
 * The state with its exit filled in, if the command has exited. Attaches at the end of all output and leaves the exit
 * for others to read. If it was acknowledged meanwhile, the state is returned unchanged.
 */
export async function withExit(node: Opener, sandbox: string, state: ExecState): Promise<ExecState> {
  if (state.state !== 'exited' || state.exit !== null) return state;
  try {
    return { ...state, exit: await readExit(node, sandbox, state) };
  } catch (error) {
    if (ServiceError.from(error).code === 'exec_not_found') return state;
    throw error;
  }
}

async function readExit(node: Opener, sandbox: string, state: ExecState): Promise<ExecExit> {
  let stream: MuxStream | null = null;
  try {
    return await withDeadline({ deadlineMs: DEADLINE_MS, what: 'reading the exit' }, () => {
      const done = Promise.withResolvers<ExecExit>();
      const { execId: id, stdoutBytes: stdout, stderrBytes: stderr } = state;
      const opened = node.open(
        { op: 'attach', sandbox, id, stdout, stderr },
        {
          data: (_channel, bytes) => opened.consume(bytes.length),
          event: (message) => {
            if (message['type'] !== 'exit') return;
            const exit = ExecExit.safeParse(message);
            if (exit.success) done.resolve(exit.data);
            else done.reject(new ServiceError('protocol_error', 'the agent sent an exit that cannot be read'));
          },
          fin: (channel) => {
            if (channel === Channel.ALL) done.reject(new ServiceError('interrupted', 'no exit arrived'));
          },
          closed: (error) => done.reject(error ?? new ServiceError('interrupted')),
        },
      );
      stream = opened;
      return done.promise;
    });
  } finally {
    // RESET, since FIN would acknowledge the exit. The cast: the compiler does not see the assignment in the closure.
    (stream as MuxStream | null)?.reset(new ServiceError('cancelled'));
  }
}

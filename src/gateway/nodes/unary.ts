/** One request to an agent, one answer. */
import type { Json, MuxStream, StreamHandler } from '../../mux/index.ts';
import { ServiceError } from '../../protocol/errors.ts';
import type { NodeOpen } from '../../protocol/node.ts';

export interface Opener {
  /** @throws ServiceError */
  open(request: NodeOpen, handler: StreamHandler): MuxStream;
}

/**
 * The answer in OPENED.
 * @throws ServiceError as the agent refused; `interrupted` when the link was cut; `deadline_exceeded`, after which it
 * is unknown whether it was done.
 */
export function ask(on: Opener, request: NodeOpen, deadlineMs: number): Promise<Json> {
  const done = Promise.withResolvers<Json>();
  let answered = false;
  const timer = setTimeout(() => {
    stream.reset(new ServiceError('deadline_exceeded', `no answer from the node within ${deadlineMs} ms`));
  }, deadlineMs);
  const handler: StreamHandler = {
    opened: (answer) => {
      answered = true;
      done.resolve(answer);
    },
    closed: (error) => {
      clearTimeout(timer);
      // Creating an error takes longer than the rest of a call.
      if (!answered)
        done.reject(error ?? new ServiceError('protocol_error', 'the agent ended a call without an answer'));
    },
  };
  let stream: MuxStream;
  try {
    stream = on.open(request, handler);
    stream.end();
  } catch (error) {
    clearTimeout(timer);
    return Promise.reject(ServiceError.from(error));
  }
  return done.promise;
}

/** The agent's end of one sandbox: the link to its boxinit, whichever connection carries it at the moment. */
import type { Json, MuxStream, StreamHandler } from '../../src/mux/types.ts';
import type { SupervisorHello } from '../../src/protocol/supervisor.ts';

export interface Supervisor {
  /** Container id. */
  readonly id: string;
  /** What boxinit said of itself when it last called. */
  readonly hello: SupervisorHello;
  /** @throws ServiceError `node_unavailable` when boxinit is not connected. */
  open(request: Json, handler: StreamHandler): MuxStream;
  /** One question, one answer. @throws ServiceError as refused, `interrupted` when the link was cut. */
  call(request: Json, options?: { signal?: AbortSignal; deadlineMs?: number }): Promise<Json>;
  /** Round trip to boxinit in milliseconds. @throws ServiceError `node_unavailable`, `interrupted`, `deadline_exceeded`. */
  ping(deadlineMs?: number): Promise<number>;
}

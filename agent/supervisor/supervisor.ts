/** The agent's interface to one boxinit, independent of the connection that currently carries it. */
import type { Json, MuxStream, StreamHandler } from '../../src/mux/types.ts';
import type { SupervisorHello, SupervisorOpen } from '../../src/protocol/supervisor.ts';

export interface Supervisor {
  /** Container id. */
  readonly id: string;
  /** boxinit's latest HELLO. */
  readonly hello: SupervisorHello;
  /** @throws ServiceError `node_unavailable` when boxinit is not connected. */
  open(request: SupervisorOpen, handler: StreamHandler): MuxStream;
  /** One request, one answer. @throws ServiceError as refused, `interrupted` if the link broke. */
  call(request: SupervisorOpen, options?: { signal?: AbortSignal; deadlineMs?: number }): Promise<Json>;
  /**
   * Round trip to boxinit in milliseconds.
   * @throws ServiceError `node_unavailable`, `interrupted`, `deadline_exceeded`.
   */
  ping(deadlineMs?: number): Promise<number>;
}

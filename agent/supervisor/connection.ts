/** One connection on a sandbox's socket: unauthenticated at first, then boxinit's. */
import type net from 'node:net';
import { sameText } from '../../src/lib/node-auth.ts';
import { createMux, socketTransport, type Mux } from '../../src/mux/index.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import { SUPERVISOR_GENERATION, SupervisorHello, type AgentHello } from '../../src/protocol/supervisor.ts';

/** A connection that sends no HELLO for this long is dropped. */
const HELLO_DEADLINE_MS = 5_000;
/** Longer than on other links: a sandbox has few streams, so its next exec comes later. */
const LAZY_MS = 50;

export interface ConnectionEvents {
  /** It has presented the token, so it is boxinit. */
  greeted(connection: Connection): void;
  /** Called once. Null if we closed it. */
  closed(connection: Connection, error: ServiceError | null): void;
  /** A stream's handler threw. */
  failed(error: unknown): void;
}

export class Connection {
  readonly mux: Mux;
  /** Set once it is authenticated. */
  hello: SupervisorHello | null = null;
  readonly #timer: NodeJS.Timeout;

  constructor(socket: net.Socket, token: string, events: ConnectionEvents) {
    this.#timer = setTimeout(() => {
      this.close(new ServiceError('protocol_error', 'no HELLO arrived in time'));
    }, HELLO_DEADLINE_MS);
    const greeting: AgentHello = { generation: SUPERVISOR_GENERATION };
    this.mux = createMux({
      transport: socketTransport(socket),
      role: 'listener',
      lazyMs: LAZY_MS,
      hello: { ...greeting },
      onHello: (message) => {
        this.hello = checkHello(message, token);
        clearTimeout(this.#timer);
        // The mux cannot be used inside its own constructor, and no HELLO arrives before that has returned.
        events.greeted(this);
      },
      onClose: (error) => {
        clearTimeout(this.#timer);
        events.closed(this, error);
      },
      onFailure: (error) => events.failed(error),
    });
  }

  close(error?: ServiceError): void {
    clearTimeout(this.#timer);
    this.mux.close(error);
  }
}

function checkHello(message: unknown, token: string): SupervisorHello {
  const parsed = SupervisorHello.safeParse(message);
  if (!parsed.success) throw new ServiceError('protocol_error', 'the HELLO cannot be read');
  if (!sameText(parsed.data.token, token)) throw new ServiceError('unauthenticated', 'the HELLO has a wrong token');
  if (parsed.data.generation !== SUPERVISOR_GENERATION) {
    throw new ServiceError('protocol_error', `boxinit speaks generation ${parsed.data.generation}`);
  }
  return parsed.data;
}

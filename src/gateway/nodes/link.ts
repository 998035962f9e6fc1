/** The link to one agent: dials, authenticates, watches, and redials when it breaks. */
import { createMux, type Json, type Mux, type MuxStream, type StreamHandler, type Transport } from '../../mux/index.ts';
import { jitteredBackoffMs } from '../../lib/backoff.ts';
import { pause } from '../../lib/deadline.ts';
import type { Logger } from '../../lib/logger.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { NODE_ANSWER_FACTOR, NODE_HEARTBEAT_MS, NODE_LINK_DEAD_MS } from '../../protocol/limits.ts';
import {
  NODE_GENERATION,
  type NodeHello,
  type NodeOpen,
  type NodeReport,
  type SandboxRecord,
  type WatchEvent,
} from '../../protocol/node.ts';
import { WatchStream } from './watch-stream.ts';

/** One dialled connection: a transport, and the check of the agent's HELLO that arrives over it. */
export interface Dialled {
  transport: Transport;
  checkHello(hello: Json): NodeHello;
}
export type Dial = (signal: AbortSignal) => Promise<Dialled>;

interface LinkListener {
  /** The snapshot is complete: the link may be used from now on. A throw closes it. */
  up(hello: NodeHello, report: NodeReport, sandboxes: SandboxRecord[]): void;
  /** A change after the snapshot. A throw closes the link. */
  change(event: Exclude<WatchEvent, { type: 'snapshot' }>): void;
  down(error: ServiceError): void;
}

export interface Heartbeat {
  intervalMs: number;
  /** The link is dead when nothing has arrived for this long. */
  deadAfterMs: number;
}

export interface LinkOptions {
  dial: Dial;
  listener: LinkListener;
  log: Logger;
  heartbeat?: Heartbeat | undefined;
}

/** Totals over all links to one node. */
export interface LinkCounts {
  bytesIn: number;
  bytesOut: number;
  /** Heartbeats whose answer took longer than the heartbeat interval. */
  lateHeartbeats: number;
  /** Links that were up and broke. */
  losses: number;
}

const DEFAULT_HEARTBEAT: Heartbeat = { intervalMs: NODE_HEARTBEAT_MS, deadAfterMs: NODE_LINK_DEAD_MS };

const HELLO_DEADLINE_MS = 30_000;
const BACKOFF = { firstMs: 50, maxMs: 2_000 };
/** For an agent that breaks the protocol or does not know the secret: redialling soon would change nothing. */
const REJECTED_PAUSE_MS = 10_000;

export class NodeLink {
  readonly #options: LinkOptions;
  readonly #stopping = new AbortController();
  #mux: Mux | null = null;
  readonly #past: LinkCounts = { bytesIn: 0, bytesOut: 0, lateHeartbeats: 0, losses: 0 };
  #running: Promise<void> | null = null;

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new ServiceError('cancelled', 'the gateway is shutting down'));
    this.#mux?.close();
    await this.#running;
  }

  /** Whether streams can be opened now. */
  get up(): boolean {
    return this.#mux !== null && !this.#mux.closed;
  }

  get counts(): LinkCounts {
    const now = this.#mux?.stats;
    return {
      bytesIn: this.#past.bytesIn + (now?.bytesIn ?? 0),
      bytesOut: this.#past.bytesOut + (now?.bytesOut ?? 0),
      lateHeartbeats: this.#past.lateHeartbeats + (now?.lateHeartbeats ?? 0),
      losses: this.#past.losses,
    };
  }

  /** Whether requests had better wait. */
  get crowded(): boolean {
    return this.#mux?.crowded === true;
  }

  /** Resolves when they need not, or the link is down. */
  async room(): Promise<void> {
    await this.#mux?.room();
  }

  get streams(): number {
    return this.#mux?.stats.streams ?? 0;
  }

  /** @throws ServiceError `node_unavailable` when the link is down, and as `Mux.open`; `invalid_request` when too large. */
  open(request: NodeOpen, handler: StreamHandler): MuxStream {
    if (this.#mux === null) throw new ServiceError('node_unavailable');
    return this.#mux.open(request, handler);
  }

  async #run(): Promise<void> {
    const signal = this.#stopping.signal;
    for (let failures = 0; !signal.aborted;) {
      let pauseMs: number;
      try {
        const error = await this.#session(await this.#options.dial(signal), () => (failures = 0));
        failures += 1;
        pauseMs = pauseAfter(error, failures);
      } catch (error) {
        failures += 1;
        pauseMs = pauseAfter(error, failures);
        if (failures === 1 || pauseMs === REJECTED_PAUSE_MS) {
          this.#options.log.warn({ err: error }, 'the node cannot be reached');
        }
      }
      await pause(pauseMs, signal);
    }
  }

  /** Runs one connection. Resolves with the reason of its end. */
  #session({ transport, checkHello }: Dialled, onUp: () => void): Promise<ServiceError> {
    const { listener, log, heartbeat = DEFAULT_HEARTBEAT } = this.#options;
    const ended = Promise.withResolvers<ServiceError>();
    let isUp = false;
    // Undefined until `createMux` has returned: its callbacks may be called before that.
    let mux: Mux | undefined;
    const timer = setTimeout(() => {
      mux?.close(new ServiceError('deadline_exceeded', `no snapshot within ${HELLO_DEADLINE_MS} ms`));
    }, HELLO_DEADLINE_MS);
    const watch = (link: Mux, hello: NodeHello): void => {
      const stream = new WatchStream({
        snapshot: (report, sandboxes) => {
          clearTimeout(timer);
          isUp = true;
          this.#mux = link;
          onUp();
          listener.up(hello, report, sandboxes);
          log.info({ node: hello.node, bootId: hello.bootId, sandboxes: sandboxes.length }, 'node link up');
        },
        change: (event) => listener.change(event),
        failed: (error) => link.close(error),
      });
      try {
        link.open({ op: 'watch' }, stream);
      } catch (error) {
        // Closed again, or the agent's first message was that it is leaving.
        link.close(ServiceError.from(error));
      }
    };
    mux = createMux({
      transport,
      role: 'dialler',
      hello: { generation: NODE_GENERATION },
      pingIntervalMs: heartbeat.intervalMs,
      deadAfterMs: heartbeat.deadAfterMs,
      answerWithinMs: NODE_ANSWER_FACTOR * heartbeat.deadAfterMs,
      onHello: (message) => {
        const hello = checkHello(message);
        queueMicrotask(() => mux !== undefined && watch(mux, hello));
      },
      onClose: (error) => {
        clearTimeout(timer);
        const why = error ?? new ServiceError('node_unavailable', 'the agent closed the link');
        // First: whatever fails below, the node is redialled.
        ended.resolve(why);
        this.#past.bytesIn += mux?.stats.bytesIn ?? 0;
        this.#past.bytesOut += mux?.stats.bytesOut ?? 0;
        this.#past.lateHeartbeats += mux?.stats.lateHeartbeats ?? 0;
        if (isUp) {
          this.#mux = null;
          if (!this.#stopping.signal.aborted) this.#past.losses += 1;
          listener.down(why);
          log.warn({ code: why.code, reason: why.message }, 'node link down');
        }
      },
      onFailure: (error) => log.error({ err: error }, 'a handler of the node link failed'),
    });
    return ended.promise;
  }
}

function pauseAfter(error: unknown, failures: number): number {
  const code = error instanceof ServiceError ? error.code : undefined;
  if (code === 'unauthenticated' || code === 'protocol_error') return REJECTED_PAUSE_MS;
  return jitteredBackoffMs(BACKOFF, failures);
}

/**
 * `events` streams: each change of a tenant's sandboxes, or of one of them. A client that reads more slowly than
 * changes arrive gets the newest state of each sandbox, not every intermediate one, so that its backlog stays small.
 */
import * as z from 'zod';
import type { MuxStream, StreamHandler } from '../../../mux/index.ts';
import { ServiceError } from '../../../protocol/errors.ts';
import type { Sandbox } from '../../../protocol/sandbox.ts';
import { check } from '../../http/route.ts';
import type { SandboxService } from '../../sandboxes/service.ts';

const EventsOpen = z.strictObject({ op: z.literal('events'), sandbox: z.string().optional() });

/** Unsent bytes of a link above which changes are coalesced. */
const MAX_BACKLOG_BYTES = 1024 * 1024;
const LOOK_EVERY_MS = 100;
/** One is enough for all sandboxes of a tenant; each further one is another copy of every change. */
const MAX_STREAMS_PER_CLIENT = 256;

/** The streams of one client. */
export class EventStreams {
  readonly #sandboxes: SandboxService;
  #open = 0;

  constructor(sandboxes: SandboxService) {
    this.#sandboxes = sandboxes;
  }

  /** @throws ServiceError `rate_limited`, `sandbox_not_found`, `invalid_request` */
  open(stream: MuxStream, tenant: string): StreamHandler {
    const { sandbox: wanted } = check(EventsOpen, stream.request, 'open');
    if (this.#open >= MAX_STREAMS_PER_CLIENT) {
      throw new ServiceError('rate_limited', `at most ${MAX_STREAMS_PER_CLIENT} streams of events on one link`);
    }
    if (wanted !== undefined) this.#sandboxes.get(tenant, wanted);
    stream.accept();
    const feed = new Feed(stream);
    const unsubscribe = this.#sandboxes.subscribe(tenant, (sandbox) => {
      if (wanted === undefined || sandbox.id === wanted) feed.changed(sandbox);
    });
    this.#open += 1;
    return {
      fin: () => stream.end(),
      closed: () => {
        this.#open -= 1;
        unsubscribe();
        feed.stop();
      },
    };
  }
}

class Feed {
  readonly #stream: MuxStream;
  /** Newest states that the client's link had no room for. */
  readonly #waiting = new Map<string, Sandbox>();
  #timer: NodeJS.Timeout | undefined;

  constructor(stream: MuxStream) {
    this.#stream = stream;
  }

  changed(sandbox: Sandbox): void {
    if (this.#waiting.size === 0 && this.#hasRoom) return this.#send(sandbox);
    this.#waiting.set(sandbox.id, sandbox);
    this.#timer ??= setInterval(() => this.#sendWaiting(), LOOK_EVERY_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#waiting.clear();
  }

  get #hasRoom(): boolean {
    return (this.#stream.backlog ?? 0) <= MAX_BACKLOG_BYTES;
  }

  #sendWaiting(): void {
    for (const [id, sandbox] of this.#waiting) {
      if (!this.#hasRoom) return;
      this.#waiting.delete(id);
      this.#send(sandbox);
    }
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #send(sandbox: Sandbox): void {
    this.#stream.event({ type: 'sandbox', sandbox });
  }
}

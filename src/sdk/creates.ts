/**
 * Creates, and how to undo those that failed without an answer: a sandbox they may have made has no handle, and
 * would live until its lifetime ends.
 */
import { randomUUID } from 'node:crypto';
import * as z from 'zod';
import { resolvesWithin } from '../lib/deadline.ts';
import type { Json } from '../mux/index.ts';
import type { ErrorCode, ServiceError } from '../protocol/errors.ts';
import type { Call, CallOptions, HttpClient } from './http.ts';

interface Create extends CallOptions {
  body: Json;
  /** Of one sandbox, not of a batch. */
  single: boolean;
  /** Absent: one of its own. Under a key that the caller knows, the same call again gets what was made: nothing is undone. */
  key: string | undefined;
  /** As for `HttpClient.json`. */
  patienceMs: number;
}

export interface CreatesOptions {
  http: HttpClient;
  /** For undoing: it is still open when the other is closed. */
  undoing: HttpClient;
}

const PATH = '/v1/sandboxes';
/** For all that undoing one create takes. */
const UNDO_MS = 30_000;
/** A client that is closed waits so long for what is being undone. */
const CLOSE_MS = 5_000;

/** An answer with another code says that nothing was made. A gateway that goes away says `draining` of what it has begun, too. */
const UNSURE: ReadonlySet<ErrorCode> = new Set([
  'draining',
  'node_unavailable',
  'interrupted',
  'internal',
  'deadline_exceeded',
  'protocol_error',
]);

const One = z.object({ id: z.string() });
const Made = z.union([z.object({ sandboxes: z.array(One) }), One]);

export class Creates {
  readonly #options: CreatesOptions;
  readonly #asking = new Set<Promise<unknown>>();
  readonly #undoing = new Set<Promise<void>>();

  constructor(options: CreatesOptions) {
    this.#options = options;
  }

  /** The answer. If the create fails and may have made something, that is deleted in the background. @throws as `json` */
  async post(create: Create): Promise<unknown> {
    const asking = this.#post(create);
    this.#asking.add(asking);
    try {
      return await asking;
    } finally {
      this.#asking.delete(asking);
    }
  }

  /** To be called once the client's calls were ended. Waits for what is being undone, for five seconds at most. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#asking);
    await resolvesWithin(Promise.all(this.#undoing), CLOSE_MS);
    await this.#options.undoing.close();
  }

  async #post({ body, single, key, ...options }: Create): Promise<unknown> {
    const headers = { 'idempotency-key': key ?? randomUUID() };
    const open = single ? { op: 'create', key: headers['idempotency-key'], ...body } : undefined;
    const call = { method: 'POST', path: PATH, body, headers, open, idempotent: true } as const;
    // Of this try, and of those before it.
    let [sent, unsure] = [false, false];
    const failed = ({ code }: ServiceError): void => {
      unsure ||= sent && UNSURE.has(code);
      sent = false;
    };
    try {
      return await this.#options.http.json({ ...call, ...options, sent: () => (sent = true), failed });
    } catch (error) {
      if (key === undefined && (sent || unsure)) this.#undo(call);
      throw error;
    }
  }

  #undo(call: Call): void {
    // What is left after that ends with its lifetime.
    const undone = this.#delete({ ...call, signal: AbortSignal.timeout(UNDO_MS) }).catch(() => undefined);
    this.#undoing.add(undone);
    void undone.finally(() => this.#undoing.delete(undone));
  }

  /**
   * The same key gets what was made, however late; if nothing was made so far, it is made now, because a request that is
   * still under way would make it later. Once deleted, it is what the key stands for.
   */
  async #delete(call: Call): Promise<void> {
    const { undoing } = this.#options;
    const made = Made.parse(await undoing.json(call));
    const gone = ('sandboxes' in made ? made.sandboxes : [made]).map(({ id }) =>
      undoing.json({ method: 'DELETE', path: `${PATH}/${encodeURIComponent(id)}`, signal: call.signal }),
    );
    await Promise.allSettled(gone);
  }
}

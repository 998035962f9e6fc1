/** All sandboxes of this key: making, finding and removing them. */
import { randomUUID } from 'node:crypto';
import * as z from 'zod';
import { MAX_CREATE_COUNT } from '../protocol/limits.ts';
import { ServiceError } from '../protocol/errors.ts';
import type { CreateSandboxInput, SandboxStatus } from '../protocol/sandbox.ts';
import { SandboxInfo, read } from './answer.ts';
import type { CallOptions } from './http.ts';
import { CALL_OPTIONS, checkId, checkOptions, type OptionNames } from './known-options.ts';
import { checkLabels, labelPairs } from './labels.ts';
import { NewSandbox, Sandbox, type SandboxDeps } from './sandbox.ts';
import { checkVariables } from './variables.ts';

export type CreateOptions = Omit<CreateSandboxInput, 'count' | 'env' | 'secrets' | 'labels'> & {
  env?: Record<string, string> | undefined;
  /** As `env`, and shown by no answer of the service. */
  secrets?: Record<string, string> | undefined;
  /** To find it by. Values may hold a `=`, and names none. */
  labels?: Record<string, string> | undefined;
  /** Chosen anew for each call unless given: the same key twice makes one sandbox. */
  idempotencyKey?: string | undefined;
  /**
   * How long a create that a quota, a rate or a full service has turned away is asked for again, as often as the
   * service says. A minute unless given; 0: not once.
   */
  patienceMs?: number | undefined;
} & CallOptions;

export interface ListOptions extends CallOptions {
  /** Only those with all of these labels. */
  labels?: Record<string, string> | undefined;
  status?: SandboxStatus | undefined;
  /** Asked for at a time. */
  pageSize?: number | undefined;
}

const Page = z.object({ sandboxes: z.array(SandboxInfo), nextCursor: z.string().nullish() });
const Made = z.object({ sandboxes: z.array(SandboxInfo) });
const Deleted = z.object({ deleted: z.number() });

const CREATE_OPTIONS: OptionNames<CreateOptions> = {
  ...CALL_OPTIONS,
  idempotencyKey: true,
  patienceMs: true,
  image: true,
  name: true,
  cpus: true,
  memoryMb: true,
  diskMb: true,
  pidsLimit: true,
  network: true,
  env: true,
  secrets: true,
  labels: true,
  startCommand: true,
  timeoutMs: true,
  idleTimeoutMs: true,
  priority: true,
};
const LIST_OPTIONS: OptionNames<ListOptions> = { ...CALL_OPTIONS, labels: true, status: true, pageSize: true };

/** A create may wait for its place in a queue. */
const CREATE_DEADLINE_MS = 300_000;
const CREATE_PATIENCE_MS = 60_000;

export class Sandboxes {
  readonly #deps: SandboxDeps;

  constructor(deps: SandboxDeps) {
    this.#deps = deps;
  }

  /**
   * Asks for a sandbox and returns its handle at once. Use it as it is, or await it to be told of a refusal here
   * (`quota_exceeded`, `capacity_exhausted`, `invalid_request`, …) instead of at first use.
   */
  create(options: CreateOptions = {}): NewSandbox {
    checkCreate('create', options);
    const made = this.#post(options, undefined).then((answer) => read(SandboxInfo, answer));
    return new NewSandbox(this.#deps, made);
  }

  /**
   * Many alike, in one call, which makes all of them or none. The handles are there at once, as with `create`. More
   * than a thousand take a call for each thousand.
   */
  createMany(count: number, options: CreateOptions = {}): NewSandbox[] {
    checkCreate('createMany', options);
    if (!Number.isInteger(count) || count < 0) throw new ServiceError('invalid_request', `not a count: ${count}`);
    const handles: NewSandbox[] = [];
    for (let at = 0; at < count; at += MAX_CREATE_COUNT) {
      const n = Math.min(MAX_CREATE_COUNT, count - at);
      const key = options.idempotencyKey === undefined ? {} : { idempotencyKey: `${options.idempotencyKey}-${at}` };
      const made = this.#post({ ...options, ...key }, n).then((answer) => read(Made, answer).sandboxes);
      for (let i = 0; i < n; i++)
        handles.push(
          new NewSandbox(
            this.#deps,
            made.then((all) => nth(all, i)),
          ),
        );
    }
    return handles;
  }

  /** @throws ServiceError `sandbox_not_found` */
  async get(id: string, options: CallOptions = {}): Promise<Sandbox> {
    checkOptions('get', options, CALL_OPTIONS);
    const path = `/v1/sandboxes/${encodeURIComponent(checkId('get', id))}`;
    const answer = await this.#deps.http.json({ method: 'GET', path, ...options });
    return new Sandbox(this.#deps, read(SandboxInfo, answer));
  }

  /**
   * A handle on a sandbox by its id, which asks nothing: whether there is such a sandbox shows at the first call, as
   * `sandbox_not_found`. For workers that were told an id and only have commands for it.
   */
  at(id: string): Sandbox {
    return new Sandbox(this.#deps, checkId('at', id));
  }

  /** A page is asked for when the loop gets to it. */
  async *list(options: ListOptions = {}): AsyncGenerator<Sandbox> {
    checkOptions('list', options, LIST_OPTIONS);
    const { labels = {}, status, pageSize, ...call } = options;
    let cursor: string | undefined;
    do {
      const page = read(
        Page,
        await this.#deps.http.json({
          method: 'GET',
          path: '/v1/sandboxes',
          query: [...labelPairs(labels), ['status', status], ['limit', pageSize], ['cursor', cursor]],
          ...call,
        }),
      );
      for (const info of page.sandboxes) yield new Sandbox(this.#deps, info);
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
  }

  async delete(id: string, options: CallOptions = {}): Promise<SandboxInfo> {
    checkOptions('delete', options, CALL_OPTIONS);
    const path = `/v1/sandboxes/${encodeURIComponent(checkId('delete', id))}`;
    return read(SandboxInfo, await this.#deps.http.json({ method: 'DELETE', path, ...options }));
  }

  /**
   * Deletes all that have all of these labels. @returns how many; what was deleted with an answer that got lost is not
   * counted. @throws ServiceError `invalid_request` without a label; `node_unavailable` when there may be more. What was
   * deleted until then is in `details.deleted`.
   */
  async deleteByLabel(labels: Record<string, string>, options: CallOptions = {}): Promise<number> {
    checkOptions('deleteByLabel', options, CALL_OPTIONS);
    const query = labelPairs(labels);
    if (query.length === 0) throw new ServiceError('invalid_request', 'name at least one label');
    let deleted = 0;
    // Each try deletes what it can, and its answer says how many that were.
    const failed = ({ details }: ServiceError): void => {
      deleted += Deleted.safeParse(details).data?.deleted ?? 0;
    };
    try {
      const call = { method: 'DELETE', path: '/v1/sandboxes', query, failed } as const;
      const answer = await this.#deps.http.json({ ...call, ...options });
      return deleted + read(Deleted, answer).deleted;
    } catch (error) {
      if (deleted === 0 || options.signal?.aborted || !(error instanceof ServiceError)) throw error;
      const { code, message, retryAfterMs, details } = error;
      throw new ServiceError(code, message, { retryAfterMs, details: { ...details, deleted }, cause: error });
    }
  }

  async #post(options: CreateOptions, count: number | undefined): Promise<unknown> {
    const { idempotencyKey = randomUUID(), patienceMs = CREATE_PATIENCE_MS, signal, ...rest } = options;
    const { deadlineMs = CREATE_DEADLINE_MS, ...spec } = rest;
    return await this.#deps.http.json({
      method: 'POST',
      path: '/v1/sandboxes',
      body: count === undefined ? spec : { ...spec, count },
      headers: { 'idempotency-key': idempotencyKey },
      idempotent: true,
      patienceMs,
      signal,
      deadlineMs,
    });
  }
}

function checkCreate(call: string, options: CreateOptions): void {
  checkOptions(call, options, CREATE_OPTIONS);
  checkVariables('env', options.env);
  checkVariables('secrets', options.secrets);
  checkLabels(options.labels);
}

function nth(all: SandboxInfo[], i: number): SandboxInfo {
  const info = all[i];
  if (info === undefined) throw new ServiceError('protocol_error', 'the service made fewer sandboxes than asked for');
  return info;
}

/** The sandboxes of this key: creating, finding and deleting them. */
import * as z from 'zod';
import { MAX_CREATE_COUNT } from '../protocol/limits.ts';
import { ServiceError } from '../protocol/errors.ts';
import { checkKey } from '../protocol/idempotency-key.ts';
import type { CreateSandboxInput, SandboxStatus } from '../protocol/sandbox.ts';
import { SandboxInfo, read } from './answer.ts';
import type { Creates } from './creates.ts';
import type { CallOptions } from './http.ts';
import { CALL_OPTIONS, checkId, checkOptions, type OptionNames } from './known-options.ts';
import { checkLabels, labelPairs } from './labels.ts';
import { NewSandbox, Sandbox, deleteSandbox, type SandboxDeps } from './sandbox.ts';
import { checkVariables } from './variables.ts';

export type CreateOptions = Omit<CreateSandboxInput, 'count' | 'env' | 'secrets' | 'labels'> & {
  env?: Record<string, string> | undefined;
  /** Like `env`, but never returned by the service. */
  secrets?: Record<string, string> | undefined;
  /** To find it by. A value may contain `=`, a name may not. */
  labels?: Record<string, string> | undefined;
  /**
   * Random for each call by default. Two calls with the same key make one sandbox. With a key of your own, a create that
   * was aborted or got no answer is not undone: repeating the call returns what it made.
   */
  idempotencyKey?: string | undefined;
  /**
   * How long to retry a create that was refused by a quota, a rate limit or a full service, at the pace that the
   * service asks for. Default: a minute; 0: no retries.
   */
  patienceMs?: number | undefined;
} & CallOptions;

export interface ListOptions extends CallOptions {
  /** Only those with all of these labels. */
  labels?: Record<string, string> | undefined;
  status?: SandboxStatus | undefined;
  /** Sandboxes per request. */
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

/** A create may have to wait for a place in the queue. */
const CREATE_DEADLINE_MS = 300_000;
const CREATE_PATIENCE_MS = 60_000;

export class Sandboxes {
  readonly #deps: SandboxDeps;
  readonly #creates: Creates;

  constructor(deps: SandboxDeps, creates: Creates) {
    this.#deps = deps;
    this.#creates = creates;
  }

  /**
   * Requests a sandbox and returns its handle at once. Use it right away, or await it to get a refusal
   * (`quota_exceeded`, `capacity_exhausted`, `invalid_request`, …) here instead of at first use. What a create made that
   * was aborted, or failed without an answer, is deleted in the background.
   */
  create(options: CreateOptions = {}): NewSandbox {
    checkCreate('create', options);
    const made = this.#post(options, undefined).then((answer) => read(SandboxInfo, answer));
    return new NewSandbox(this.#deps, made);
  }

  /**
   * Creates many identical sandboxes in one call, all or none. The handles are returned at once, as with `create`. More
   * than a thousand take one call per thousand.
   */
  createMany(count: number, options: CreateOptions = {}): NewSandbox[] {
    checkCreate('createMany', options);
    if (!Number.isInteger(count) || count < 0) throw new ServiceError('invalid_request', `not a valid count: ${count}`);
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
   * A handle to a sandbox by its id, without a request: if there is no such sandbox, the first call fails with
   * `sandbox_not_found`. For workers that were given an id and only run commands.
   */
  at(id: string): Sandbox {
    return new Sandbox(this.#deps, checkId('at', id));
  }

  /** Each page is requested when the loop gets to it. */
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
    return read(SandboxInfo, await deleteSandbox(this.#deps.http, checkId('delete', id), options));
  }

  /**
   * Deletes all sandboxes that have all of these labels. @returns how many; deletions whose answer was lost are not
   * counted. @throws ServiceError `invalid_request` without a label; `node_unavailable` when there may be more, with
   * the number deleted so far in `details.deleted`.
   */
  async deleteByLabel(labels: Record<string, string>, options: CallOptions = {}): Promise<number> {
    checkOptions('deleteByLabel', options, CALL_OPTIONS);
    const query = labelPairs(labels);
    if (query.length === 0) throw new ServiceError('invalid_request', 'give at least one label');
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
    const { idempotencyKey: key, patienceMs = CREATE_PATIENCE_MS, signal, ...rest } = options;
    const { deadlineMs = CREATE_DEADLINE_MS, ...spec } = rest;
    const body = count === undefined ? spec : { ...spec, count };
    return await this.#creates.post({ body, single: count === undefined, key, patienceMs, signal, deadlineMs });
  }
}

function checkCreate(call: string, options: CreateOptions): void {
  checkOptions(call, options, CREATE_OPTIONS);
  checkKey(options.idempotencyKey, 'idempotencyKey');
  checkVariables('env', options.env);
  checkVariables('secrets', options.secrets);
  checkLabels(options.labels);
}

function nth(all: SandboxInfo[], i: number): SandboxInfo {
  const info = all[i];
  if (info === undefined)
    throw new ServiceError('protocol_error', 'the service created fewer sandboxes than requested');
  return info;
}

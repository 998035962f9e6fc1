/**
 * Keeps a copy of a collection of the API server up to date: lists it once, watches from there, and lists it again when
 * the server no longer has the version at which the watch would resume. A failure never changes the copy.
 *
 * The library's own informer is not used: it ends for good at the first error of a list or a connection, requests no
 * bookmarks (so the version of a quiet collection grows too old), swallows ERROR events other than 410 and errors of
 * its listeners, and cannot be stopped while it connects.
 */
import type { z } from 'zod';
import { jitteredBackoffMs, jitteredMs } from '../../../lib/backoff.ts';
import { pause, withDeadline } from '../../../lib/deadline.ts';
import type { Logger } from '../../../lib/logger.ts';
import type { KubeSession, OpenSession } from './client.ts';
import { eventError, KubeError, MalformedError, mayResume } from './errors.ts';
import { LineSplitter } from './line-splitter.ts';
import { IdleTimeout } from './idle-timeout.ts';
import { Bookmark, checked, Event, List, ObjectHead, parseAs, textOf } from './wire.ts';

export interface Timings {
  /** Limit for loading credentials, for the head of a response, and for each page of a list. */
  requestMs: number;
  /** A watch that receives nothing for this long is given up. Bookmarks come every minute. */
  idleMs: number;
  /** The server is asked to end a watch after between one and two times this. */
  watchMs: number;
  firstPauseMs: number;
  maxPauseMs: number;
  /** Pause before retrying after a refusal for missing rights. */
  refusedPauseMs: number;
}

const DEFAULT_TIMINGS: Timings = {
  requestMs: 30_000,
  idleMs: 100_000,
  watchMs: 240_000,
  firstPauseMs: 500,
  maxPauseMs: 30_000,
  refusedPauseMs: 300_000,
};

export interface ListWatchOptions<T> {
  /** Names the collection in logs. */
  what: string;
  path: (session: KubeSession) => string;
  query: Record<string, string>;
  /** Reduces an object to the part that is kept; null when it cannot be read. */
  read: (object: unknown) => T | null;
  /** Called after `objects` or `state` changed. */
  changed: () => void;
  /** Carry on without the collection if there is no permission to read it. */
  optional: boolean;
  open: OpenSession;
  log: Logger;
  timings?: Partial<Timings>;
}

/** unknown: not listed yet. refused: no permission to list it. */
export type CopyState = 'unknown' | 'synced' | 'refused';

/** A page of pods is a few megabytes, and parsing it blocks the event loop for tens of milliseconds. */
const PAGE = 250;
const MAX_PAGE_BYTES = 64 * 1024 * 1024;
/** etcd limits objects to 1.5 MB; their JSON may be larger. */
const MAX_EVENT_BYTES = 8 * 1024 * 1024;
const MAX_OBJECTS = 100_000;
/** Consecutive refusals after which a permission counts as lost: a starting server refuses everybody for a moment. */
const DOUBTED_REFUSALS = 6;
/** A watch that ends sooner and has received nothing counts as a failure. */
const SHORT_MS = 5_000;

interface Kept<T> {
  uid: string;
  value: T;
}

export class ListWatch<T> {
  readonly #options: ListWatchOptions<T>;
  readonly #timings: Timings;
  readonly #stopping = new AbortController();
  #objects = new Map<string, Kept<T>>();
  #state: CopyState = 'unknown';
  /** The version at which a watch resumes; null: a list is needed. */
  #version: string | null = null;
  #pages = true;
  #failures = 0;
  #refusals = 0;
  #running: Promise<void> | null = null;

  constructor(options: ListWatchOptions<T>) {
    this.#options = options;
    this.#timings = { ...DEFAULT_TIMINGS, ...options.timings };
  }

  get state(): CopyState {
    return this.#state;
  }

  get objects(): T[] {
    return Array.from(this.#objects.values(), ({ value }) => value);
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Idempotent. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      let pauseMs: number;
      try {
        await this.#session(signal);
        pauseMs = this.#pause();
      } catch (error) {
        if (signal.aborted) return;
        pauseMs = this.#failed(error);
      }
      await pause(pauseMs, signal);
    }
  }

  /** Resolves when the watch has ended normally. */
  async #session(signal: AbortSignal): Promise<void> {
    await using session = await this.#opened(signal);
    if (this.#version === null) await this.#list(session, signal);
    await this.#watch(session, signal);
  }

  async #opened(signal: AbortSignal): Promise<KubeSession> {
    const { open, what } = this.#options;
    let givenUp = false;
    const opening = open().then(async (session) => {
      if (givenUp) await session[Symbol.asyncDispose]();
      return session;
    });
    try {
      const options = { signal, deadlineMs: this.#timings.requestMs, what: `credentials for ${what}` };
      return await withDeadline(options, () => opening);
    } catch (error) {
      givenUp = true;
      throw error;
    }
  }

  /** Requests the current collection, not a cached one, so the copy never goes back in time. */
  async #list(session: KubeSession, signal: AbortSignal): Promise<void> {
    const { path, query, what } = this.#options;
    const paged = this.#pages;
    // In one piece only once: where even that fails, because it is too large or takes too long, pages may work again.
    this.#pages = true;
    const found = new Map<string, Kept<T>>();
    let version: string | null = null;
    let next: string | undefined;
    do {
      const options = { signal, deadlineMs: this.#timings.requestMs, what: `the list of ${what}` };
      const asked = {
        ...query,
        ...(paged ? { limit: String(PAGE) } : {}),
        ...(next === undefined ? {} : { continue: next }),
      };
      const list = await withDeadline(options, async (deadline) =>
        parseAs(List, await textOf(await session.get(path(session), asked, deadline), MAX_PAGE_BYTES), 'a list'),
      ).catch((error: unknown) => {
        // The server may drop the rest of a list between two pages. Then the list is requested in one piece.
        if (next !== undefined && error instanceof KubeError && error.gone) this.#pages = false;
        throw error;
      });
      for (const item of list.items ?? []) this.#keep(found, item);
      version = list.metadata.resourceVersion;
      next = list.metadata.continue;
    } while (next !== undefined && next !== '');
    this.#objects = found;
    this.#version = version;
    this.#set('synced');
  }

  async #watch(session: KubeSession, signal: AbortSignal): Promise<void> {
    const { path, query, what } = this.#options;
    const { requestMs, idleMs, watchMs } = this.#timings;
    const startedAt = performance.now();
    using idle = new IdleTimeout(signal, `the watch of ${what}`);
    idle.limit(requestMs);
    const asked = {
      ...query,
      watch: '1',
      allowWatchBookmarks: 'true',
      resourceVersion: this.#version ?? '',
      timeoutSeconds: String(Math.ceil((watchMs * (1 + Math.random())) / 1_000)),
    };
    const body = await session.get(path(session), asked, idle.signal);
    idle.limit(idleMs);
    const splitter = new LineSplitter(MAX_EVENT_BYTES);
    let events = 0;
    try {
      for await (const chunk of body) {
        idle.refresh();
        for (const line of splitter.push(chunk)) {
          this.#event(parseAs(Event, line, 'an event'));
          events += 1;
        }
      }
    } catch (error) {
      // Whether the connection is dead or just quiet, a new one resumes at the same version.
      if (!idle.expired || signal.aborted) throw error;
    }
    // A server that ends watches as soon as they begin must not be asked in a tight loop.
    if (events === 0 && performance.now() - startedAt < SHORT_MS) this.#failures += 1;
    else this.#worked();
  }

  #event({ type, object }: z.infer<typeof Event>): void {
    switch (type) {
      case 'ADDED':
      case 'MODIFIED':
        this.#version = this.#keep(this.#objects, object);
        break;
      case 'DELETED': {
        const { name, uid, resourceVersion } = checked(ObjectHead, object, 'a deleted object').metadata;
        // A late event about an object that was recreated since.
        if (this.#objects.get(name)?.uid === uid) this.#objects.delete(name);
        this.#version = resourceVersion;
        break;
      }
      case 'BOOKMARK':
        this.#version = checked(Bookmark, object, 'a bookmark').metadata.resourceVersion;
        this.#worked();
        return;
      case 'ERROR':
        throw eventError(object);
      default:
        return;
    }
    this.#worked();
    this.#options.changed();
  }

  /** @returns the object's version */
  #keep(objects: Map<string, Kept<T>>, object: unknown): string {
    const { what, read, log } = this.#options;
    const { name, uid, resourceVersion } = checked(ObjectHead, object, 'an object').metadata;
    const value = read(object);
    if (value === null) {
      log.warn({ what, name }, 'an object cannot be read');
      objects.delete(name);
    } else {
      objects.set(name, { uid, value });
      if (objects.size > MAX_OBJECTS) throw new MalformedError(`more than ${MAX_OBJECTS} ${what}`);
    }
    return resourceVersion;
  }

  #worked(): void {
    if (this.#failures > 0) this.#options.log.info({ what: this.#options.what }, 'the API server is reachable again');
    this.#failures = 0;
    this.#refusals = 0;
  }

  /** @returns how long to wait before the next attempt, in milliseconds */
  #failed(error: unknown): number {
    const { what, optional, log } = this.#options;
    const first = this.#failures === 0;
    this.#failures += 1;
    if (!mayResume(error)) this.#version = null;
    if (error instanceof KubeError && error.forbidden) {
      if (first) log.warn({ err: error, what }, `no permission to list and watch ${what}`);
      this.#refusals += 1;
      if (optional && (this.#state !== 'synced' || this.#refusals > DOUBTED_REFUSALS)) {
        this.#version = null;
        this.#set('refused');
        return jitteredMs(this.#timings.refusedPauseMs);
      }
    } else if (error instanceof KubeError && error.gone) {
      log.info({ what }, 'the version of the watch is too old: listing again');
    } else if (first) {
      log.warn({ err: error, what }, 'the API server cannot be watched: keeping what is known');
    }
    const asked = error instanceof KubeError ? (error.retryAfterMs ?? 0) : 0;
    return Math.max(asked, this.#pause());
  }

  #pause(): number {
    const { firstPauseMs: firstMs, maxPauseMs: maxMs } = this.#timings;
    return jitteredBackoffMs({ firstMs, maxMs }, this.#failures);
  }

  #set(state: CopyState): void {
    this.#state = state;
    if (state === 'refused') this.#objects = new Map();
    this.#options.changed();
  }
}

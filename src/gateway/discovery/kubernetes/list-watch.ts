/**
 * A copy of a collection at the API server, kept up to date: listed once, watched from there, and listed again when the
 * server has forgotten the version that the watch would go on from. Whatever fails, the copy stays as it was.
 *
 * The library's own informer is not used: it ends for good at the first error of a list or a connection, asks for no
 * bookmarks (so that a quiet collection's version grows too old), swallows ERROR events other than 410 and what its
 * listeners throw, and cannot be stopped while it connects.
 */
import type { z } from 'zod';
import { sleep, withDeadline } from '../../../lib/deadline.ts';
import type { Logger } from '../../../lib/logger.ts';
import type { KubeSession, OpenSession } from './client.ts';
import { eventError, KubeError, MalformedError, mayResume } from './errors.ts';
import { LineSplitter } from './line-splitter.ts';
import { IdleTimeout } from './idle-timeout.ts';
import { Bookmark, checked, Event, List, ObjectHead, parseAs, textOf } from './wire.ts';

export interface Timings {
  /** For credentials, for the head of an answer, and for each page of a list. */
  requestMs: number;
  /** A watch that brings nothing for so long, no bookmark either, is given up. Bookmarks come every minute. */
  idleMs: number;
  /** The server is asked to end a watch after between one and two times this. */
  watchMs: number;
  firstPauseMs: number;
  maxPauseMs: number;
  /** Until a right is tried again that was not there. */
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
  /** What is kept of an object; null when it cannot be read. */
  read: (object: unknown) => T | null;
  /** Called when `objects` or `state` have changed. */
  changed: () => void;
  /** To live without it when there is no right to it. */
  optional: boolean;
  open: OpenSession;
  log: Logger;
  timings?: Partial<Timings>;
}

/** unknown: never listed. refused: there is no right to it. */
export type CopyState = 'unknown' | 'synced' | 'refused';

/** A page of pods is a few megabytes, and parsing it takes tens of milliseconds of everybody's time. */
const PAGE = 250;
const MAX_PAGE_BYTES = 64 * 1024 * 1024;
/** Objects are 1.5 MB at most in etcd; JSON may be larger. */
const MAX_EVENT_BYTES = 8 * 1024 * 1024;
const MAX_OBJECTS = 100_000;
/** Refusals in a row before a right that was there is taken for lost: a server that starts knows nobody's for a moment. */
const DOUBTED_REFUSALS = 6;
/** A watch that brought nothing and ended sooner did not work. */
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
  /** What a watch goes on from; null: a list is needed. */
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
      await sleep(pauseMs, signal).catch(() => undefined);
    }
  }

  /** Resolves when a watch has ended as watches do. */
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

  /** Asks for the collection as it is now, not for what a cache has of it: so it never goes back in time. */
  async #list(session: KubeSession, signal: AbortSignal): Promise<void> {
    const { path, query, what } = this.#options;
    const found = new Map<string, Kept<T>>();
    let version: string | null = null;
    let next: string | undefined;
    do {
      const options = { signal, deadlineMs: this.#timings.requestMs, what: `the list of ${what}` };
      const asked = {
        ...query,
        ...(this.#pages ? { limit: String(PAGE) } : {}),
        ...(next === undefined ? {} : { continue: next }),
      };
      const list = await withDeadline(options, async (deadline) =>
        parseAs(List, await textOf(await session.get(path(session), asked, deadline), MAX_PAGE_BYTES), 'a list'),
      ).catch((error: unknown) => {
        // The rest of a list can be forgotten between two pages. Then it is asked for in one piece.
        if (next !== undefined && error instanceof KubeError && error.gone) this.#pages = false;
        throw error;
      });
      for (const item of list.items ?? []) this.#keep(found, item);
      version = list.metadata.resourceVersion;
      next = list.metadata.continue;
    } while (next !== undefined && next !== '');
    this.#pages = true;
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
      // The connection may be dead, or just quiet: either way a new one goes on from the same version.
      if (!idle.expired || signal.aborted) throw error;
    }
    // What ends watches as soon as they begin is not asked again and again at once.
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
        // A late word about one that has been made anew since.
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

  /** @returns its version */
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
    if (this.#failures > 0) this.#options.log.info({ what: this.#options.what }, 'the API server answers again');
    this.#failures = 0;
    this.#refusals = 0;
  }

  /** @returns how long to wait */
  #failed(error: unknown): number {
    const { what, optional, log } = this.#options;
    const first = this.#failures === 0;
    this.#failures += 1;
    if (!mayResume(error)) this.#version = null;
    if (error instanceof KubeError && error.forbidden) {
      if (first) log.warn({ err: error, what }, `no right to list and watch ${what}`);
      this.#refusals += 1;
      if (optional && (this.#state !== 'synced' || this.#refusals > DOUBTED_REFUSALS)) {
        this.#version = null;
        this.#set('refused');
        return jittered(this.#timings.refusedPauseMs);
      }
    } else if (error instanceof KubeError && error.gone) {
      log.info({ what }, 'the version has grown too old: listing again');
    } else if (first) {
      log.warn({ err: error, what }, 'the API server cannot be followed: what is known stays');
    }
    const asked = error instanceof KubeError ? (error.retryAfterMs ?? 0) : 0;
    return Math.max(asked, this.#pause());
  }

  #pause(): number {
    const { firstPauseMs, maxPauseMs } = this.#timings;
    return jittered(Math.min(maxPauseMs, firstPauseMs * 2 ** Math.min(20, Math.max(0, this.#failures - 1))));
  }

  #set(state: CopyState): void {
    this.#state = state;
    if (state === 'refused') this.#objects = new Map();
    this.#options.changed();
  }
}

const jittered = (ms: number): number => ms * (0.5 + Math.random() / 2);

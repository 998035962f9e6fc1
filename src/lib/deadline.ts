/** Deadlines and linked signals. `AbortSignal.any` is not used: it leaks while one of its inputs lives on. */
import { ServiceError, type ErrorCode } from '../protocol/errors.ts';

/** Node fires a timer set for longer at once. 25 days: no call here is meant to last that long. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

export interface LinkedOptions {
  signal?: AbortSignal | undefined;
  deadlineMs?: number | undefined;
  /** Names the work in the error. */
  what?: string;
  code?: ErrorCode;
}

/**
 * An abort reason, or anything thrown. A value that is not an error becomes the cause of one, so that whoever catches
 * it can rely on its form.
 */
export function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new ServiceError('cancelled', undefined, { cause: reason });
}

/** A signal that fires with `signal` or at the deadline. Dispose it to remove its listener and timer. */
export class Linked implements Disposable {
  readonly #controller = new AbortController();
  readonly #parent: AbortSignal | undefined;
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #onAbort = (): void => this.#controller.abort(asError(this.#parent?.reason));

  constructor({ signal, deadlineMs, what = 'the call', code = 'deadline_exceeded' }: LinkedOptions) {
    this.#parent = signal;
    if (signal?.aborted) this.#onAbort();
    else signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (deadlineMs !== undefined && Number.isFinite(deadlineMs)) {
      this.#timer = setTimeout(() => {
        this.#controller.abort(new ServiceError(code, `${what} did not end within ${deadlineMs} ms`));
      }, timerOf(deadlineMs));
    }
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Aborts it for another reason. Does nothing if it has already aborted. */
  abort(reason: Error): void {
    this.#controller.abort(reason);
  }

  [Symbol.dispose](): void {
    this.#parent?.removeEventListener('abort', this.#onAbort);
    clearTimeout(this.#timer);
  }
}

/**
 * Runs `work` with a signal that fires at the deadline or with the parent, and rejects then even if `work` ignores it.
 * @throws ServiceError `deadline_exceeded`, or the parent's reason.
 */
export async function withDeadline<T>(options: LinkedOptions, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  using linked = new Linked(options);
  return await orAbort(linked.signal, work(linked.signal));
}

/** The promise, or the signal's reason if that comes first. */
export async function orAbort<T>(signal: AbortSignal | undefined, promise: Promise<T>): Promise<T> {
  if (signal === undefined) return await promise;
  // The loser of the race below must not become an unhandled rejection.
  promise.catch(() => undefined);
  if (signal.aborted) throw asError(signal.reason);
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(asError(signal.reason));
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** Whether the promise resolved within `ms`. Rejects if the promise does so in time. */
export async function resolvesWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => (timer = setTimeout(() => resolve(false), timerOf(ms))));
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves after `ms`, or at the signal if that comes first. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  await sleep(ms, signal).catch(() => undefined);
}

/** Resolves after `ms`, or rejects with the signal's reason. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  try {
    await orAbort(signal, new Promise<void>((resolve) => (timer = setTimeout(resolve, timerOf(ms)))));
  } finally {
    clearTimeout(timer);
  }
}

const timerOf = (ms: number): number => Math.min(ms, MAX_TIMER_MS);

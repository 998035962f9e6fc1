/** Shares work between callers that wait for the same result, and aborts it once none of them is waiting. */
import { orAbort } from '../../src/lib/deadline.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import type { EnsureOptions, Image, PullProgress } from '../runtime/runtime.ts';

type Watcher = (progress: PullProgress) => void;

/** `tenants`: of everyone currently waiting for it. */
type PullWork = (signal: AbortSignal, report: Watcher, tenants: () => Set<string>) => Promise<Image>;

interface Pull {
  done: Promise<Image>;
  watchers: Set<{ report: Watcher; tenant: string }>;
  waiting: number;
  abort: AbortController;
}

export class Pulls {
  readonly #pulls = new Map<string, Pull>();

  /** Joins the work in progress under this key, or starts it. */
  async join(key: string, work: PullWork, { signal, onProgress, tenant = '' }: EnsureOptions): Promise<Image> {
    const pull = this.#pulls.get(key) ?? this.#start(key, work);
    const watcher = { report: onProgress ?? (() => undefined), tenant };
    pull.watchers.add(watcher);
    pull.waiting += 1;
    try {
      return await orAbort(signal, pull.done);
    } finally {
      pull.waiting -= 1;
      pull.watchers.delete(watcher);
      if (pull.waiting === 0) this.#giveUp(key, pull);
    }
  }

  #start(key: string, work: PullWork): Pull {
    const abort = new AbortController();
    const watchers: Pull['watchers'] = new Set();
    const report: Watcher = (progress) => {
      for (const watcher of watchers) {
        try {
          watcher.report(progress);
        } catch {
          // One listener's error must not end a pull shared with others.
        }
      }
    };
    const tenants = (): Set<string> => new Set([...watchers].map(({ tenant }) => tenant));
    const pull: Pull = { done: work(abort.signal, report, tenants), watchers, waiting: 0, abort };
    this.#pulls.set(key, pull);
    pull.done.catch(() => undefined).finally(() => this.#forget(key, pull));
    return pull;
  }

  /** Aborts the pull. A later caller starts a new one. */
  #giveUp(key: string, pull: Pull): void {
    this.#forget(key, pull);
    pull.abort.abort(new ServiceError('cancelled', 'nobody waits for this pull any more'));
  }

  #forget(key: string, pull: Pull): void {
    if (this.#pulls.get(key) === pull) this.#pulls.delete(key);
  }
}

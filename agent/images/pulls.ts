/** Work that several wait for is done once; it ends early when nobody waits any more. */
import { orAbort } from '../../src/lib/deadline.ts';
import { ServiceError } from '../../src/protocol/errors.ts';
import type { Image, PullProgress } from '../runtime/runtime.ts';

type Watcher = (progress: PullProgress) => void;

export interface Waiter {
  signal?: AbortSignal;
  onProgress?: Watcher;
}

type PullWork = (signal: AbortSignal, tell: Watcher) => Promise<Image>;

interface Pull {
  done: Promise<Image>;
  watchers: Set<{ tell: Watcher }>;
  waiting: number;
  abort: AbortController;
}

export class Pulls {
  readonly #pulls = new Map<string, Pull>();

  /** The result of the work under this key, which is begun if it is not under way. */
  async join(key: string, work: PullWork, { signal, onProgress }: Waiter): Promise<Image> {
    const pull = this.#pulls.get(key) ?? this.#start(key, work);
    const watcher = { tell: onProgress ?? (() => undefined) };
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
    const tell: Watcher = (progress) => {
      for (const watcher of watchers) {
        try {
          watcher.tell(progress);
        } catch {
          // It is one of many, and the pull is not its own.
        }
      }
    };
    const pull: Pull = { done: work(abort.signal, tell), watchers, waiting: 0, abort };
    this.#pulls.set(key, pull);
    pull.done.catch(() => undefined).finally(() => this.#forget(key, pull));
    return pull;
  }

  /** Whoever comes from now on begins anew: this one only has its end before it. */
  #giveUp(key: string, pull: Pull): void {
    this.#forget(key, pull);
    pull.abort.abort(new ServiceError('cancelled', 'nobody waits for this pull any more'));
  }

  #forget(key: string, pull: Pull): void {
    if (this.#pulls.get(key) === pull) this.#pulls.delete(key);
  }
}

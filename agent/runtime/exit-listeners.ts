/** Listeners for container exits. An error in one does not affect the others. */
import type { Logger } from '../../src/lib/logger.ts';

export interface Exit {
  /** Whether it was OOM-killed; null if that could not be determined. */
  oomKilled: boolean | null;
}

export type ExitListener = (id: string, exit: Exit) => void;

export class ExitListeners {
  readonly #log: Logger;
  readonly #listeners = new Set<ExitListener>();

  constructor(log: Logger) {
    this.#log = log;
  }

  add(listener: ExitListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell(id: string, oomKilled: Exit['oomKilled']): void {
    for (const listener of this.#listeners) {
      try {
        listener(id, { oomKilled });
      } catch (error) {
        this.#log.error({ err: error, container: id }, 'an exit listener threw');
      }
    }
  }

  clear(): void {
    this.#listeners.clear();
  }
}

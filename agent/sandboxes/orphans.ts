/** Destroys containers and directories without an owner when they are seen for the second time. */
import { background } from '../../src/lib/background.ts';
import type { Logger } from '../../src/lib/logger.ts';
import type { ContainerHomes } from '../pool/container-homes.ts';
import type { Launcher } from '../pool/launcher.ts';
import type { ContainerRuntime } from '../runtime/runtime.ts';

const LOOK_EVERY_MS = 30_000;

interface OrphansOptions {
  runtime: ContainerRuntime;
  homes: ContainerHomes;
  launcher: Launcher;
  /** Whether a pool, or a sandbox that has not ended, owns it. */
  isOwned(id: string): boolean;
  /** Called when a running sandbox's container turns out to have stopped, and the runtime has not reported it. */
  stopped(id: string): void;
  log: Logger;
}

export class Orphans {
  readonly #options: OrphansOptions;
  readonly #timer: NodeJS.Timeout;
  #suspects = new Set<string>();
  /** Containers found stopped at the last look. The runtime itself reports an exit, with its reason, a moment later. */
  #stopped = new Set<string>();
  #looking = false;

  constructor(options: OrphansOptions) {
    this.#options = options;
    this.#timer = setInterval(() => background(this.look(), 'looking for orphans', options.log), LOOK_EVERY_MS);
    this.#timer.unref();
  }

  /** One pass. Containers are listed before their owners are looked up, so one created in between is no suspect. */
  async look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      await this.#look();
    } finally {
      this.#looking = false;
    }
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    const { runtime, homes, launcher, isOwned, stopped, log } = this.#options;
    const containers = await runtime.list();
    const ended = containers.filter(({ id, running }) => !running && isOwned(id)).map(({ id }) => id);
    for (const id of ended) if (this.#stopped.has(id)) stopped(id);
    this.#stopped = new Set(ended);
    const ids = new Set([...containers.map(({ id }) => id), ...(await homes.list())]);
    const suspects = [...ids].filter((id) => !isOwned(id) && !launcher.isPending(id));
    for (const id of suspects) {
      if (!this.#suspects.has(id)) continue;
      log.warn({ container: id }, 'destroying an orphaned container');
      void launcher.discard(id);
    }
    this.#suspects = new Set(suspects);
  }
}

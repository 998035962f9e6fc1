/** Polls for the exit of containers' init processes: they are not children of the agent, so no signal reports it. */
import { isAlive, seemsAlive, type ProcessId } from './pids.ts';
import { Rounds } from './rounds.ts';

const LOOK_EVERY_MS = 200;
/** How many are checked for pid reuse at each poll. */
const SURE_EACH_LOOK = 4;

export class ExitPoller {
  readonly #watched = new Map<string, ProcessId>();
  readonly #gone: (id: string) => void;
  #timer: NodeJS.Timeout | undefined;
  readonly #sure = new Rounds(() => this.#watched.entries());

  /** `gone` is called once per container, and must not throw. */
  constructor(gone: (id: string) => void) {
    this.#gone = gone;
  }

  watch(id: string, process: ProcessId): void {
    this.#watched.set(id, process);
    this.#timer ??= setInterval(() => this.#look(), LOOK_EVERY_MS).unref();
  }

  /** Stops watching it. */
  forget(id: string): void {
    this.#watched.delete(id);
    if (this.#watched.size === 0) this.close();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #look(): void {
    const dead = [...this.#watched].filter(([, process]) => !seemsAlive(process)).map(([id]) => id);
    for (const [id, process] of this.#sure.next(SURE_EACH_LOOK)) {
      if (!isAlive(process) && !dead.includes(id)) dead.push(id);
    }
    for (const id of dead) {
      this.forget(id);
      this.#gone(id);
    }
  }
}

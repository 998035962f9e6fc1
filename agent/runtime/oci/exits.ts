/** Notices when a container's first process is gone: nobody tells, since it is a child of none of ours. */
import { isAlive, seemsAlive, type ProcessId } from './pids.ts';

const LOOK_EVERY_MS = 200;
/** Of so many each time it is made sure that the number is still theirs. */
const SURE_EACH_LOOK = 4;

export class Exits {
  readonly #watched = new Map<string, ProcessId>();
  readonly #gone: (id: string) => void;
  #timer: NodeJS.Timeout | undefined;
  #sure: Iterator<[string, ProcessId]> | undefined;

  /** `gone` is called once for each, and must not throw. */
  constructor(gone: (id: string) => void) {
    this.#gone = gone;
  }

  watch(id: string, process: ProcessId): void {
    this.#watched.set(id, process);
    this.#timer ??= setInterval(() => this.#look(), LOOK_EVERY_MS).unref();
  }

  /** Its end is nobody's surprise from now on. */
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
    for (let looked = 0; looked < SURE_EACH_LOOK; looked += 1) {
      this.#sure ??= this.#watched.entries();
      const next = this.#sure.next();
      if (next.done === true) {
        this.#sure = undefined;
        break;
      }
      const [id, process] = next.value;
      if (!isAlive(process) && !dead.includes(id)) dead.push(id);
    }
    for (const id of dead) {
      this.forget(id);
      this.#gone(id);
    }
  }
}

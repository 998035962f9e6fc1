/**
 * Cordon and drain: whether this node accepts new sandboxes. Stored on disk, because the agent is the authority on its
 * node: the decision survives restarts of gateways and of the agent.
 */
import { mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import * as z from 'zod';
import type { Logger } from '../../src/lib/logger.ts';
import { readIfThereSync, writeWholeSync } from '../../src/lib/whole-file.ts';
import { Alarms } from './alarms.ts';

const State = z.object({
  cordoned: z.boolean(),
  draining: z.boolean(),
  /** By the wall clock, since it outlives the process. Null: no deadline. */
  deadlineAtMs: z.number().nullable(),
});
type State = z.infer<typeof State>;

const OPEN: State = { cordoned: false, draining: false, deadlineAtMs: null };

interface IntakeOptions {
  dataDir: string;
  log: Logger;
  /** Called at each change, but not from the constructor. Must not throw. */
  changed(): void;
  /** Called when a drain's deadline has passed. Must not throw. */
  overdue(): void;
}

export class Intake {
  readonly #options: IntakeOptions;
  readonly #file: string;
  readonly #alarms: Alarms;
  #state: State;

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#alarms = new Alarms(options.log);
    this.#file = path.join(options.dataDir, 'intake.json');
    this.#state = this.#read();
  }

  get open(): boolean {
    return !this.#state.cordoned && !this.#state.draining;
  }

  get state(): Readonly<State> {
    return this.#state;
  }

  /**
   * Starts the deadline's timer, once the sandboxes of an earlier agent are known. The deadline may have passed
   * already.
   */
  begin(): void {
    this.#arm();
    if (!this.open) this.#options.log.info({ event: 'intake', ...this.#state }, 'this node accepts no new sandboxes');
    this.#options.changed();
  }

  /** @throws Error if it cannot be saved; nothing has changed then. */
  cordon(on: boolean): void {
    this.#set({ ...this.#state, cordoned: on });
  }

  /** @throws Error as `cordon` */
  drain(on: boolean, deadlineMs?: number): void {
    const deadlineAtMs = on && deadlineMs !== undefined ? Date.now() + deadlineMs : null;
    this.#set({ ...this.#state, draining: on, deadlineAtMs });
  }

  close(): void {
    this.#alarms.close();
  }

  #set(state: State): void {
    if (state.cordoned || state.draining) {
      mkdirSync(this.#options.dataDir, { recursive: true, mode: 0o711 });
      writeWholeSync(this.#file, `${JSON.stringify(state)}\n`);
    } else rmSync(this.#file, { force: true });
    this.#state = state;
    this.#arm();
    this.#options.log.info({ event: 'intake', ...state }, 'cordon or drain changed');
    this.#options.changed();
  }

  #arm(): void {
    const { deadlineAtMs } = this.#state;
    if (deadlineAtMs === null) this.#alarms.cancel('deadline');
    else this.#alarms.set('deadline', deadlineAtMs - Date.now(), () => this.#options.overdue());
  }

  #read(): State {
    try {
      const text = readIfThereSync(this.#file);
      return text === undefined ? OPEN : State.parse(JSON.parse(text));
    } catch (error) {
      // The content is unknown, but the file's existence means that the operator wanted no new sandboxes.
      this.#options.log.error({ err: error, file: this.#file }, 'intake.json is unreadable: node cordoned');
      return { ...OPEN, cordoned: true };
    }
  }
}

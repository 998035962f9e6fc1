/**
 * Whether this node takes new sandboxes, by the operator's word. It is kept on disk: the agent is the truth for its node,
 * so gateways that come and go, and restarts of its own, change nothing about it.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import * as z from 'zod';
import type { Logger } from '../../src/lib/logger.ts';
import { Alarms } from './alarms.ts';

const State = z.object({
  cordoned: z.boolean(),
  draining: z.boolean(),
  /** By the wall clock, since it outlives the process. Null: what lives here may go on as long as it would. */
  deadlineAtMs: z.number().nullable(),
});
type State = z.infer<typeof State>;

const OPEN: State = { cordoned: false, draining: false, deadlineAtMs: null };

interface IntakeOptions {
  dataDir: string;
  log: Logger;
  /** Told of each change, and never from within the constructor. Must not throw. */
  changed(): void;
  /** The deadline of a drain is over. Must not throw. */
  overdue(): void;
}

export class Intake {
  readonly #options: IntakeOptions;
  readonly #file: string;
  readonly #alarms = new Alarms();
  #state: State;

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#file = path.join(options.dataDir, 'intake.json');
    this.#state = this.#read();
  }

  get open(): boolean {
    return !this.#state.cordoned && !this.#state.draining;
  }

  get state(): Readonly<State> {
    return this.#state;
  }

  /** Sandboxes of an earlier agent are known: a deadline may pass from now on, also one that has passed already. */
  begin(): void {
    this.#arm();
    if (!this.open) this.#options.log.info({ event: 'intake', ...this.#state }, 'this node takes no new sandboxes');
    this.#options.changed();
  }

  /** @throws Error when it cannot be written down; nothing has changed then. */
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
      writeFileSync(`${this.#file}.new`, `${JSON.stringify(state)}\n`, { mode: 0o600 });
      renameSync(`${this.#file}.new`, this.#file);
    } else rmSync(this.#file, { force: true });
    this.#state = state;
    this.#arm();
    this.#options.log.info({ event: 'intake', ...state }, 'the operator has spoken');
    this.#options.changed();
  }

  #arm(): void {
    const { deadlineAtMs } = this.#state;
    if (deadlineAtMs === null) this.#alarms.cancel('deadline');
    else this.#alarms.set('deadline', deadlineAtMs - Date.now(), () => this.#options.overdue());
  }

  #read(): State {
    let text: string;
    try {
      text = readFileSync(this.#file, 'utf8');
    } catch {
      return OPEN;
    }
    try {
      return State.parse(JSON.parse(text));
    } catch (error) {
      // Whatever it was, the operator wanted nothing new here: that much is kept.
      this.#options.log.error({ err: error, file: this.#file }, 'what the operator said cannot be read: cordoned');
      return { ...OPEN, cordoned: true };
    }
  }
}

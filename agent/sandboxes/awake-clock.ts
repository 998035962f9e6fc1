/**
 * Counts the time during which any agent of this data directory was running. Idle timeouts use it: nobody can use a
 * sandbox without an agent, and the wall clock can be set.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import * as z from 'zod';
import type { Logger } from '../../src/lib/logger.ts';
import { writeWholeSync } from '../../src/lib/whole-file.ts';

const NOTE_EVERY_MS = 10_000;

/** `atMs`: when it was written, by the wall clock. `last`: the agent stopped at that time. */
const Note = z.object({ awakeMs: z.number().nonnegative(), atMs: z.number(), last: z.boolean().default(false) });

export class AwakeClock {
  readonly #file: string;
  readonly #log: Logger;
  readonly #timer: NodeJS.Timeout;
  readonly #startedAt = performance.now();
  readonly #beforeMs: number;

  constructor(dataDir: string, log: Logger) {
    this.#file = path.join(dataDir, 'awake.json');
    this.#log = log;
    this.#beforeMs = this.#read();
    // At once, so that agents killed within seconds of their start, again and again, count too.
    this.#note();
    this.#timer = setInterval(() => this.#note(), NOTE_EVERY_MS);
    this.#timer.unref();
  }

  get nowMs(): number {
    return this.#beforeMs + performance.now() - this.#startedAt;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#note({ last: true });
  }

  #read(): number {
    try {
      const { awakeMs, atMs, last } = Note.parse(JSON.parse(readFileSync(this.#file, 'utf8')));
      if (last) return awakeMs;
      // A killed agent may have lived this much longer than its last note.
      return awakeMs + Math.min(NOTE_EVERY_MS, Math.max(0, Date.now() - atMs));
    } catch {
      // There is none yet. Starting too low never ends a sandbox early.
      return 0;
    }
  }

  #note({ last = false } = {}): void {
    try {
      const note: z.infer<typeof Note> = { awakeMs: this.nowMs, atMs: Date.now(), last };
      writeWholeSync(this.#file, JSON.stringify(note));
    } catch (error) {
      this.#log.warn({ err: error }, 'the idle clock cannot be saved');
    }
  }
}

/** Timers that end a sandbox: its lifetime, its idle timeout, and a supervisor that does not reconnect. */
import type { Logger } from '../../src/lib/logger.ts';
import type { EndReason } from '../../src/protocol/sandbox.ts';
import { Alarms } from './alarms.ts';
import type { Sandbox } from './sandbox.ts';

/** boxinit redials within a second or two; without it a container is useless. */
const SILENCE_MS = 15_000;

export class Deadlines {
  readonly #alarms: Alarms;
  readonly #end: (sandbox: Sandbox, reason: EndReason, message: string) => void;

  /** @param end called when time is up; must not throw */
  constructor(end: (sandbox: Sandbox, reason: EndReason, message: string) => void, log: Logger) {
    this.#alarms = new Alarms(log);
    this.#end = end;
  }

  /** Ends it at its record's `expiresAtMs`, by this node's clock. */
  lifetime(sandbox: Sandbox): void {
    this.#alarms.set(`life ${sandbox.id}`, sandbox.record.expiresAtMs - Date.now(), () => {
      this.#end(sandbox, 'lifetime', 'the lifetime of the sandbox is over');
    });
  }

  /** Restarts the idle timeout, if it has one. */
  idle(sandbox: Sandbox): void {
    const idleMs = sandbox.spec?.idleTimeoutMs ?? null;
    if (idleMs === null || sandbox.ended) return;
    this.#alarms.set(`idle ${sandbox.id}`, idleMs - sandbox.idleMs, () => {
      if (sandbox.idleMs >= idleMs) this.#end(sandbox, 'idle', 'the sandbox was idle for too long');
      else this.idle(sandbox);
    });
  }

  silent(sandbox: Sandbox): void {
    this.#alarms.set(`silent ${sandbox.id}`, SILENCE_MS, () => {
      this.#end(sandbox, 'internal', 'the supervisor of the sandbox does not answer');
    });
  }

  /** Its supervisor has reconnected. */
  reconnected(sandbox: Sandbox): void {
    this.#alarms.cancel(`silent ${sandbox.id}`);
  }

  /** Stops all its timers. */
  cancel({ id }: Sandbox): void {
    for (const what of ['life', 'idle', 'silent']) this.#alarms.cancel(`${what} ${id}`);
  }

  close(): void {
    this.#alarms.close();
  }
}

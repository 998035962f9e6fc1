/**
 * Records when sandboxes with an idle timeout were last used, so that the timeout continues under the next agent.
 * Coarsely, so that not every call costs a write.
 */
import type { Logger } from '../../src/lib/logger.ts';
import { AwakeClock } from './awake-clock.ts';
import type { Sandbox } from './sandbox.ts';

const RENEW_EVERY_MS = 10_000;
/**
 * A note covers this much of the future, during which no other is written. After a crash, a sandbox may once end late
 * by this much, and never early.
 */
const AHEAD_MS = 2 * RENEW_EVERY_MS;

interface LastUsesOptions {
  dataDir: string;
  /** Sandboxes that have not ended. */
  living(): Iterable<Sandbox>;
  /** Writes the sandbox's record. */
  save(sandbox: Sandbox): void;
  log: Logger;
}

export class LastUses {
  readonly #options: LastUsesOptions;
  readonly #clock: AwakeClock;
  readonly #timer: NodeJS.Timeout;

  constructor(options: LastUsesOptions) {
    this.#options = options;
    this.#clock = new AwakeClock(options.dataDir, options.log);
    this.#timer = setInterval(() => this.#renew(), RENEW_EVERY_MS);
    this.#timer.unref();
  }

  /** The sandbox is being used. */
  used(sandbox: Sandbox): void {
    if (this.stamp(sandbox)) this.#save(sandbox);
  }

  /** The same, for a caller that writes the record anyway. False if the last note still covers this use. */
  stamp(sandbox: Sandbox): boolean {
    const { nowMs } = this.#clock;
    if (!counts(sandbox) || nowMs < (sandbox.usedUntilMs ?? -Infinity)) return false;
    sandbox.usedUntilMs = nowMs + AHEAD_MS;
    return true;
  }

  /** Continues from the note of an earlier agent. */
  resume(sandbox: Sandbox): void {
    if (!counts(sandbox)) return;
    // The earlier agent kept no notes.
    if (sandbox.usedUntilMs === null) this.used(sandbox);
    else sandbox.unusedFor(Math.max(0, this.#clock.nowMs - sandbox.usedUntilMs));
  }

  /** Saves the exact values of what the notes hold coarsely. */
  close(): void {
    clearInterval(this.#timer);
    for (const sandbox of this.#options.living()) {
      if (!counts(sandbox)) continue;
      const lastMs = this.#clock.nowMs - sandbox.idleMs;
      if (sandbox.usedUntilMs !== null && sandbox.usedUntilMs <= lastMs) continue;
      sandbox.usedUntilMs = lastMs;
      this.#save(sandbox);
    }
    this.#clock.close();
  }

  /** A call counts as use for as long as it is open. */
  #renew(): void {
    const { nowMs } = this.#clock;
    for (const sandbox of this.#options.living()) {
      if (sandbox.calls === 0 || !counts(sandbox)) continue;
      if ((sandbox.usedUntilMs ?? 0) >= nowMs + RENEW_EVERY_MS) continue;
      sandbox.usedUntilMs = nowMs + AHEAD_MS;
      this.#save(sandbox);
    }
  }

  /** A missing note makes an idle timeout wrong after a restart, which is no reason to end the sandbox now. */
  #save(sandbox: Sandbox): void {
    try {
      this.#options.save(sandbox);
    } catch (error) {
      this.#options.log.warn({ err: error, sandbox: sandbox.id }, 'the last use of a sandbox cannot be saved');
    }
  }
}

/** The timeout does not run before the sandbox does. */
const counts = (sandbox: Sandbox): boolean => sandbox.running && (sandbox.spec?.idleTimeoutMs ?? null) !== null;

/** One kind of load, as a generator process runs its share of it. */
import type { Millibox, Sandbox } from '../../../../src/sdk/index.ts';
import { Random } from '../../random/random.ts';
import { spread } from '../../concurrency.ts';
import type { Plan } from '../plan.ts';
import type { Recording } from '../recording.ts';

/** Longer than any run: sandboxes left by a killed generator end by themselves. */
const LIFETIME_MS = 1_800_000;
const MEMORY_MB = 128;
/** Sandboxes created or removed concurrently, outside of what is measured. */
const WIDTH = 16;

export interface Workload {
  /** The series that indicates progress. */
  readonly main: string;
  /** Preparation that is not measured. */
  prepare?(): Promise<void>;
  /** @param startedAt the moment at which all generators begin, on the clock of `performance.now()` */
  run(startedAt: number): Promise<void>;
}

export class Context {
  readonly plan: Plan;
  readonly client: Millibox;
  readonly recording: Recording;
  readonly random: Random;
  /** Calls, or rollouts, in flight. */
  underWay = 0;
  readonly #kept = new Set<Sandbox>();

  constructor(plan: Plan, client: Millibox, recording: Recording) {
    this.plan = plan;
    this.client = client;
    this.recording = recording;
    this.random = new Random(plan.seed);
  }

  /** Creates a sandbox with the run's label. The caller deletes it, or passes it to `keep`. */
  create(): Sandbox {
    const { image, label } = this.plan;
    return this.client.sandboxes.create({
      image,
      memoryMb: MEMORY_MB,
      timeoutMs: LIFETIME_MS,
      labels: { load: label },
    });
  }

  /** Registers it for deletion after all measurements. */
  keep(sandbox: Sandbox): void {
    this.#kept.add(sandbox);
  }

  /** This many running sandboxes. */
  async running(count: number): Promise<Sandbox[]> {
    const made: Sandbox[] = [];
    await spread(count, WIDTH, async () => {
      const sandbox = this.create();
      this.keep(sandbox);
      await sandbox.ready();
      made.push(sandbox);
    });
    return made;
  }

  /** Counts a call as in flight until it ends. Its failures have already been recorded, and end here. */
  async during(call: () => Promise<void>): Promise<void> {
    this.underWay += 1;
    try {
      await call();
    } catch {
      // Counted where it happened.
    } finally {
      this.underWay -= 1;
    }
  }

  /**
   * Deletes a sandbox as part of what is measured, and records how it was created. One that was never created is
   * ignored.
   */
  async delete(sandbox: Sandbox): Promise<void> {
    const { recording } = this;
    const made = await sandbox.created().then(
      () => true,
      () => false,
    );
    if (!made) return;
    const { timings } = await recording.time('delete', performance.now(), () => sandbox.delete());
    recording.count(timings.warm === true ? 'start.warm' : 'start.cold');
    if (timings.runningMs !== undefined) recording.series('start-up').times.record(timings.runningMs);
  }

  async deleteKept(): Promise<void> {
    const kept = [...this.#kept];
    this.#kept.clear();
    await spread(kept.length, WIDTH, async (i) => {
      await kept[i]?.delete().catch((error: unknown) => this.recording.fail('delete', error));
    });
  }
}

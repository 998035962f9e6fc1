/**
 * Cables that go with their network namespace. The kernel takes them away some time after the last process, many in one
 * go; one that somebody takes away by name costs it as much as all of them together.
 */
import { sleep } from '../../../../src/lib/deadline.ts';

const LOOK_EVERY_MS = 20;

interface VethRemovalOptions {
  /** Names of the network devices that there are. @throws when it cannot be told. */
  devices(): string;
  /** Takes one away that does not go. */
  remove(device: string): Promise<void>;
  /** How long the kernel is given. */
  patienceMs: number;
}

export class VethRemoval {
  readonly #options: VethRemovalOptions;
  readonly #leaving = new Map<string, { since: number; gone: PromiseWithResolvers<void> }>();
  #watching = false;

  constructor(options: VethRemovalOptions) {
    this.#options = options;
  }

  /** Resolves once the device is gone, by itself or by force; or when it cannot be told. Never rejects. */
  async of(device: string): Promise<void> {
    const known = this.#leaving.get(device);
    if (known !== undefined) return await known.gone.promise;
    const gone = Promise.withResolvers<void>();
    this.#leaving.set(device, { since: performance.now(), gone });
    if (!this.#watching) void this.#watch();
    await gone.promise;
  }

  async #watch(): Promise<void> {
    this.#watching = true;
    while (this.#leaving.size > 0) {
      const there = this.#devices();
      for (const [device, { since }] of this.#leaving) {
        if (!there.includes(device)) this.#is(device);
        else if (performance.now() - since > this.#options.patienceMs) {
          await this.#options.remove(device).catch(() => undefined);
          this.#is(device);
        }
      }
      if (this.#leaving.size > 0) await sleep(LOOK_EVERY_MS);
    }
    this.#watching = false;
  }

  #is(device: string): void {
    this.#leaving.get(device)?.gone.resolve();
    this.#leaving.delete(device);
  }

  #devices(): string {
    try {
      return this.#options.devices();
    } catch {
      return '';
    }
  }
}

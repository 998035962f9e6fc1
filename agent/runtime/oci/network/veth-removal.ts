/**
 * Waits for veth pairs to disappear with their network namespace. The kernel removes them some time after the last
 * process, many at once; removing one by name costs as much as all of those together.
 */
import { sleep } from '../../../../src/lib/deadline.ts';

const LOOK_EVERY_MS = 20;

interface VethRemovalOptions {
  /** The existing network devices, as listed in /proc/net/dev. @throws if they cannot be read. */
  devices(): string;
  /** Removes a device by name. */
  remove(device: string): Promise<void>;
  /** How long to wait for the kernel. */
  patienceMs: number;
}

export class VethRemoval {
  readonly #options: VethRemovalOptions;
  readonly #leaving = new Map<string, { since: number; gone: PromiseWithResolvers<void> }>();
  #watching = false;

  constructor(options: VethRemovalOptions) {
    this.#options = options;
  }

  /** Resolves once the device is gone, by itself or removed, or if devices cannot be read. Never rejects. */
  async whenGone(device: string): Promise<void> {
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
        if (!there.includes(device)) this.#settle(device);
        else if (performance.now() - since > this.#options.patienceMs) {
          await this.#options.remove(device).catch(() => undefined);
          this.#settle(device);
        }
      }
      if (this.#leaving.size > 0) await sleep(LOOK_EVERY_MS);
    }
    this.#watching = false;
  }

  #settle(device: string): void {
    this.#leaving.get(device)?.gone.resolve();
    this.#leaving.delete(device);
  }

  #devices(): string {
    try {
      return this.#options.devices();
    } catch {
      // Unknown counts as gone, so that no caller waits for ever.
      return '';
    }
  }
}

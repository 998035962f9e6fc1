/** Fills the pool of the default image at start-up. */
import { sleep } from '../../src/lib/deadline.ts';
import type { Logger } from '../../src/lib/logger.ts';
import type { ContainerRuntime } from '../runtime/runtime.ts';
import type { Pools } from './pools.ts';

const RETRY_MS = 10_000;

interface PrewarmOptions {
  image: string;
  runtime: ContainerRuntime;
  pools: Pools;
  log: Logger;
}

/** Retries until it succeeds or is aborted: an image that cannot be pulled now may be available later. */
export async function prewarm({ image, runtime, pools, log }: PrewarmOptions, signal: AbortSignal): Promise<void> {
  if (runtime.imageAgnostic) pools.prewarm(undefined);
  while (!signal.aborted) {
    try {
      const found = await runtime.images.ensure(image, { signal });
      if (!runtime.imageAgnostic) pools.prewarm(found);
      return;
    } catch (error) {
      if (signal.aborted) return;
      log.warn({ err: error }, 'the default image is not available yet');
    }
    await sleep(RETRY_MS, signal).catch(() => undefined);
  }
}

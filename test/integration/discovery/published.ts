/** The nodes published by a discovery, in a form that tests compare. */
import type { DiscoveredNode } from '../../../src/gateway/discovery/discovery.ts';
import { until } from '../../helpers/until.ts';

/** As `name standing host:port`, in order; null before anything was published. */
export const publishedOf = (nodes: readonly DiscoveredNode[] | null): string[] | null =>
  nodes?.map(({ name, standing, url }) => `${name} ${standing} ${url.slice('ws://'.length)}`).sort() ?? null;

/** Resolves once exactly these are published. */
export async function untilPublished(
  published: () => string[] | null,
  expected: readonly string[],
  limitMs: number,
): Promise<void> {
  const done = (): boolean => JSON.stringify(published()) === JSON.stringify(expected);
  await until(done, limitMs, `[${expected.join(', ')}]`).catch((error: unknown) => {
    throw new Error(`${String(error)}; it is [${published()?.join(', ') ?? 'nothing'}]`);
  });
}

/**
 * The messages about tenants that gateways exchange, as text. A message by another version that cannot be parsed is
 * ignored.
 */
import * as z from 'zod';
import { parseJson } from '../../lib/parse-json.ts';
import type { UsageSnapshot } from '../tenants/counters.ts';

const Commands = z.array(z.tuple([z.string(), z.number()]));

const Amount = z.number().min(0);
const Snapshot = z
  .object({ nodes: z.int().min(0), usage: z.array(z.tuple([z.string(), Amount, Amount, Amount])) })
  .transform(({ nodes, usage }): UsageSnapshot => {
    const entries = usage.map(
      ([tenant, sandboxes, milliCpus, memoryMb]) => [tenant, { sandboxes, milliCpus, memoryMb }] as const,
    );
    return { nodes, usage: new Map(entries) };
  });

export const commandsText = (running: ReadonlyMap<string, number>): string => JSON.stringify([...running]);

/** Running commands by tenant, summed over all gateways that reported. */
export function sumOfCommands(texts: readonly string[]): Map<string, number> {
  const sum = new Map<string, number>();
  for (const [tenant, count] of texts.flatMap((text) => parseJson(Commands, text) ?? [])) {
    sum.set(tenant, (sum.get(tenant) ?? 0) + count);
  }
  return sum;
}

export function snapshotText({ nodes, usage }: UsageSnapshot): string {
  const words = [...usage].map(([tenant, { sandboxes, milliCpus, memoryMb }]) => [
    tenant,
    sandboxes,
    milliCpus,
    memoryMb,
  ]);
  return JSON.stringify({ nodes, usage: words });
}

export const snapshotsOf = (texts: readonly string[]): UsageSnapshot[] =>
  texts.flatMap((text) => parseJson(Snapshot, text) ?? []);

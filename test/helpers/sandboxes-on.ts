/** Creates sandboxes on a chosen node. */
import type { Millibox, Sandbox } from '../../src/sdk/index.ts';
import type { TestStack } from './stack.ts';

/** Creates this many running sandboxes on the named node: the others are cordoned meanwhile. */
export async function sandboxesOn(
  stack: TestStack,
  node: string,
  count: number,
  client: Millibox = stack.client,
): Promise<Sandbox[]> {
  const { operator } = stack;
  const others = (await operator.nodes()).map(({ name }) => name).filter((name) => name !== node);
  for (const name of others) await operator.cordon(name, true);
  try {
    return await Promise.all(
      client.sandboxes.createMany(count, { memoryMb: 64 }).map(async (each) => {
        await each.ready();
        return await each;
      }),
    );
  } finally {
    for (const name of others) await operator.cordon(name, false);
  }
}

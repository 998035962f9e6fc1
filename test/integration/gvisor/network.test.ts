/**
 * What sandboxes on gVisor's kernel can reach. Node and world are network namespaces of this test: nothing is sent
 * outside.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { METADATA, NODE, PRIVATE, PUBLIC, RESOLVER, World } from '../oci-network/world.ts';

const OPEN = [`${PUBLIC}:80`, `${RESOLVER}:53`];
const CLOSED = [`${METADATA}:80`, `${PRIVATE}:80`, `${RESOLVER}:80`, `${NODE}:2375`];

test('the public world is reachable; private addresses, the node and neighbours are not; off means off', async () => {
  const imagesDir = mkdtempSync(path.join(tmpdir(), 'mbx-images-'));
  await using world = await World.make();
  try {
    const program = path.join(import.meta.dirname, '../oci/network-node.ts');
    const targets = [...OPEN, ...CLOSED];
    const told = await world.onNode(process.execPath, program, 'gvisor', imagesDir, ...targets);
    const report = JSON.parse(told) as Record<string, unknown>;
    const all = (names: string[], state: string): Record<string, string> =>
      Object.fromEntries(names.map((name) => [name, state]));
    expect(report['neighbourItself']).toBe('open');
    expect(report['online']).toEqual({ ...all(OPEN, 'open'), ...all([...CLOSED, 'neighbour', 'gateway'], 'closed') });
    expect(report['off']).toEqual(all([...targets, 'neighbour', 'gateway'], 'closed'));
    expect(report['resolvers']).toBe(`nameserver ${RESOLVER}`);
    expect(report['offResolvers']).toBe('');
    expect(report['ipv6']).toBe('');
    // Nothing of it is left on the node.
    expect(await world.onNode('nft', 'list', 'tables')).not.toContain('millibox');
    expect(await world.onNode('ip', '-o', 'link')).not.toContain('mbx-');
  } finally {
    rmSync(imagesDir, { recursive: true, force: true });
  }
});

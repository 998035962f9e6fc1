/**
 * IPv6. Sandboxes have no IPv6 address and no right to set one; this is what happens to packets anyway, on a node that
 * forwards everything.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { lacking, World } from './world.ts';

const missing = existsSync('/proc/net/if_inet6') ? await lacking() : 'version 6 of the protocol';
const because = missing === '' ? '' : ` (skipped: there is no ${missing})`;

describe.skipIf(missing !== '')(`a sandbox that speaks version 6${because}`, () => {
  test('reaches nobody: not the node, nor a neighbour, nor the world, under any name', async () => {
    await using world = await World.make();
    await world.speakSix();
    const told = await world.onNode(process.execPath, path.join(import.meta.dirname, 'six-node.ts'), world.around);
    const report = JSON.parse(told) as Record<string, unknown>;
    expect(report['bridgeHasSix']).toBe(false);
    // IPv4 addressed as IPv6 is subject to the rules too.
    expect(report['guarded']).toEqual(['world mappedPublic']);
    // Without the rules all of them arrive: there is a way, and it is closed.
    expect(report['open']).toEqual([
      'node everybody',
      'node mappedNode',
      'node node',
      'second everybody',
      'second neighbour',
      'world mappedMetadata',
      'world mappedPrivate',
      'world mappedPublic',
      'world metadata',
      'world private',
      'world public',
      'world translated',
      'world tunnelled',
    ]);
  });
});

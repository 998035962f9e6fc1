/** The network of sandboxes whose agent is in a network namespace that ends with it, as in a pod. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Network } from '../../../agent/runtime/oci/network/network.ts';
import { silent } from '../../../src/lib/logger.ts';
import { Place } from './places.ts';
import { lacking } from './world.ts';

const run = promisify(execFile);
const missing = await lacking();
const because = missing === '' ? '' : ` (skipped: there is no ${missing})`;

describe.skipIf(missing !== '')(`an uplink that is not the agent's own${because}`, () => {
  let uplink: Place;
  let sandbox: Place;

  const at = async (pid: number, ...command: string[]): Promise<string> =>
    (await run('nsenter', [`--net=/proc/${pid}/ns/net`, ...command])).stdout;
  const open = (): Network => new Network({ tag: 'of-a-pod', resolvers: [], uplinkPid: uplink.pid, log: silent });

  beforeAll(async () => {
    [uplink, sandbox] = await Promise.all([Place.open('uplink'), Place.open('sandbox')]);
  });
  afterAll(() => Promise.all([uplink?.close(), sandbox?.close()]));

  test('bridge, rules and forwarding are set up there and not here, and another agent finds and removes them', async () => {
    const links = 'ip -o link show type bridge'.split(' ');
    const tables = 'nft list tables'.split(' ');
    const mine = async (): Promise<string[]> => [
      (await run('ip', links.slice(1))).stdout,
      (await run('nft', ['list', 'tables'])).stdout,
    ];
    const before = await mine();

    const first = open();
    const card = await first.connect(sandbox.id, sandbox.dir, sandbox.pid);
    await first.setUp(card, sandbox.pid);
    const { address } = card;
    expect(await at(uplink.pid, ...links)).toContain('mbx-');
    expect(await at(uplink.pid, ...tables)).toContain('millibox_');
    expect(await at(uplink.pid, 'cat', '/proc/sys/net/ipv4/ip_forward')).toBe('1\n');
    expect(await at(sandbox.pid, 'ip', '-o', 'addr')).toContain(address);
    expect(await mine()).toEqual(before);

    await first.close();
    const next = open();
    next.adopt(sandbox.id, sandbox.dir);
    expect(await at(uplink.pid, ...links)).toContain('mbx-');
    await next.disconnect(sandbox.id);
    await next.close();
    expect(await at(uplink.pid, ...links)).toBe('');
    expect(await at(uplink.pid, ...tables)).toBe('');
    expect(await at(sandbox.pid, 'ip', '-o', 'addr')).not.toContain(address);
  });
});

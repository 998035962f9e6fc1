/**
 * What happens to packets sent by a sandbox with a network, with only the rights it has: recorded in the world, on the
 * node behind its rules, and at a neighbour. All are network namespaces of this test, with no route out.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Launched } from '../../../agent/pool/launcher.ts';
import { Bench, run } from '../../../agent/runtime/contract/subject.ts';
import { until } from '../../helpers/until.ts';
import { lacking } from '../oci-network/world.ts';
import {
  PacketRecorder,
  GATEWAY,
  inside,
  NODE,
  NODE_INSIDE,
  NODE_SIX,
  PUBLIC,
  RESOLVER,
  Surroundings,
} from './recorders.ts';
import { SEND, SEND_AS_ANOTHER, SEND_FROM_A_PORT, SEND_WITH_OPTIONS } from './packet-probes.ts';
import { ociSubject, processOf } from './subject.ts';

const missing = await lacking();
const because = missing === '' ? '' : ` (skipped: there is no ${missing})`;
const LIMIT_MS = 60_000;

/** The first and last address of each non-public range, the metadata service's, and multicast or broadcast ones. */
const RESERVED = [
  ...['0.0.0.1', '10.0.0.1', '100.64.0.1', '169.254.0.1', '172.16.0.1', '192.0.0.1', '192.168.0.1', '198.18.0.1'],
  ...['0.255.255.254', '10.255.255.254', '100.127.255.254', '169.254.255.254', '172.31.255.254', '192.0.0.254'],
  ...['192.168.255.254', '198.19.255.254', '169.254.169.254', '224.0.0.1', '224.0.0.251', '239.1.1.1', '240.0.0.1'],
  ...['255.255.255.254', '255.255.255.255'],
];
/** Just outside of these ranges. */
const BESIDE = [
  ...['1.0.0.1', '9.255.255.254', '11.0.0.1', '100.63.255.254', '100.128.0.1', '169.253.255.254', '169.255.0.1'],
  ...['172.15.255.254', '172.32.0.1', '192.0.1.1', '192.167.255.254', '192.169.0.1', '198.17.255.254', '198.20.0.1'],
  '223.255.255.254',
];
const MAPPED = ['10.0.0.1', '169.254.169.254', NODE, PUBLIC].map((address) => `::ffff:${address}`);
const SIX = [NODE_SIX, '2001:db8:80::10', 'fe80::1%eth0', 'ff02::1%eth0', '64:ff9b::a9fe:a9fe'];

describe.skipIf(missing !== '')(`from a sandbox with a network${because}`, () => {
  let around: Surroundings;
  let bench: Bench;
  let attacker: Launched;
  let neighbour: Launched;
  let world: PacketRecorder;
  let node: PacketRecorder;
  let next: PacketRecorder;
  /** Addresses of the sandboxes and of the bridge, and the broadcast address. */
  const at = { own: '', neighbour: '', bridge: '', all: '' };

  const pidOf = ({ container }: Launched): number => processOf(bench.runtime, container.id).pid;
  const onNode = async (...command: string[]): Promise<string> => await inside(around.node.pid, ...command);
  const send = async (targets: string[]): Promise<string[]> => {
    const { stdout, stderr } = await run(attacker.link, ['python3', '-c', SEND, ...targets]);
    expect(stderr).toBe('');
    return stdout.split('\n').filter(Boolean);
  };
  const fromSandboxes = (recorded: string[]): string[] =>
    recorded.filter((line) => line.startsWith(`${at.own} `) || line.startsWith(`${at.neighbour} `));

  beforeAll(async () => {
    around = await Surroundings.make();
    bench = await Bench.open(ociSubject({ uplinkPid: around.node.pid, resolvers: [RESOLVER] }));
    attacker = await bench.claimed({ network: 'internet', sandbox: 'sbx-attacker' });
    neighbour = await bench.claimed({ network: 'internet', sandbox: 'sbx-neighbour' });
    const found = async (each: Launched, pattern: RegExp, ...command: string[]): Promise<string> =>
      pattern.exec(await inside(pidOf(each), 'ip', '-4', '-o', ...command))?.[1] ?? '';
    at.own = await found(attacker, /inet (\S+)\//, 'addr', 'show', 'eth0');
    at.neighbour = await found(neighbour, /inet (\S+)\//, 'addr', 'show', 'eth0');
    at.bridge = await found(attacker, /via (\S+)/, 'route', 'show', 'default');
    at.all = await found(attacker, /^broadcast (\S+\.255) dev eth0/m, 'route', 'show', 'table', 'local');
    world = await PacketRecorder.at(around.world.pid, 'w0', 'arriving');
    node = await PacketRecorder.at(around.node.pid, await bridgeOf(onNode), 'accepted');
    next = await PacketRecorder.at(pidOf(neighbour), 'eth0', 'arriving');
    const ours = [NODE, NODE_INSIDE, ...Object.values(at).filter((address) => address !== at.own)];
    await send([PUBLIC, RESOLVER, GATEWAY, ...BESIDE, ...RESERVED, ...MAPPED, ...SIX, ...ours.filter(Boolean)]);
  });
  afterAll(async () => {
    await bench?.[Symbol.asyncDispose]();
    await around?.[Symbol.asyncDispose]();
  });

  test("only public addresses, and the resolver, are reached in the world, from the node's address", async () => {
    // The node itself announces on its links which groups it listens to, before it has an address there.
    const recorded = (await world.recorded()).filter((line) => !/^(fe80:|:: )/.test(line));
    const reached = [...new Set(recorded.map((line) => line.split(' ')[2]))];
    expect(reached.sort()).toEqual([PUBLIC, RESOLVER, GATEWAY, ...BESIDE].sort());
    for (const protocol of ['tcp', 'udp']) expect(recorded).toContain(`${NODE} > ${PUBLIC} ${protocol}`);
  });

  test('nothing leaves the node from an address that only the node knows', async () => {
    expect(fromSandboxes(await world.recorded())).toEqual([]);
  });

  test('the node accepts nothing, at any of its addresses', async () => {
    expect(await node.recorded()).toEqual([]);
  });

  test('a neighbour receives nothing, by unicast, broadcast or multicast', async () => {
    expect(fromSandboxes(await next.recorded())).toEqual([]);
  });

  test('packets with options are dropped', async () => {
    const { stdout, stderr } = await run(attacker.link, ['python3', '-c', SEND_WITH_OPTIONS, PUBLIC]);
    expect([stdout, stderr]).toEqual(['sent\n', '']);
    expect(await world.recordedWithOptions()).toEqual([]);
  });

  test('no socket sends from an address that is not its own', async () => {
    const others = [at.neighbour, at.bridge, NODE, PUBLIC, '127.0.0.1', '0.0.0.1'];
    const { stdout, stderr } = await run(attacker.link, ['python3', '-c', SEND_AS_ANOTHER, PUBLIC, ...others]);
    expect([stdout, stderr]).toEqual(['', '']);
  });

  test('a connection begun without the rules does not continue with its private address', async () => {
    const tables = async (): Promise<string> => await onNode('nft', 'list', 'tables');
    const [, table = ''] = /table inet (millibox_\S+)/.exec(await tables()) ?? [];
    const goOn = async (): Promise<void> =>
      void (await run(attacker.link, ['python3', '-c', SEND_FROM_A_PORT, PUBLIC, '4000']));
    // As on any node with a firewall or an engine, something else uses connection tracking too.
    const other = 'add chain inet other passing { type filter hook forward priority 0; }';
    await onNode('nft', `add table inet other; ${other}; add rule inet other passing ct state established counter`);
    const begun = async (): Promise<boolean> => {
      // The agent restores them every few seconds.
      await onNode('nft', 'delete', 'table', 'inet', table).catch(() => undefined);
      await goOn();
      return fromSandboxes(await world.recorded()).length > 0;
    };
    await until(begun, LIMIT_MS, 'a connection without rules');
    await until(async () => (await tables()).includes(table), LIMIT_MS, 'the rules');
    await world.forget();
    await goOn();
    // The next one works as usual.
    await send([PUBLIC]);
    expect(await world.recorded()).toContain(`${NODE} > ${PUBLIC} udp`);
    expect(fromSandboxes(await world.recorded())).toEqual([]);
  });

  test('without the rules everything would be received: there is a way, and they close it', async () => {
    const [, table = ''] = /table inet (millibox_\S+)/.exec(await onNode('nft', 'list', 'tables')) ?? [];
    const ports = [...(await onNode('ip', '-o', 'link', 'show', 'type', 'veth')).matchAll(/^\d+: (mb[^@]+)@/gm)];
    for (const [, port = ''] of ports)
      await onNode('ip', 'link', 'set', port, 'type', 'bridge_slave', 'isolated', 'off');
    const all = async (): Promise<boolean> => {
      // The agent restores them every few seconds.
      await onNode('nft', 'delete', 'table', 'inet', table).catch(() => undefined);
      await send(['10.0.0.1', at.bridge, NODE_INSIDE, at.neighbour]);
      await run(attacker.link, ['python3', '-c', SEND_WITH_OPTIONS, PUBLIC]);
      const [out, here, beside] = [await world.recorded(), await node.recorded(), await next.recorded()];
      const options = (await world.recordedWithOptions()).length > 0;
      const has = (recorded: string[], to: string): boolean => recorded.includes(`${at.own} > ${to} udp`);
      return (
        options && has(out, '10.0.0.1') && has(here, at.bridge) && has(here, NODE_INSIDE) && has(beside, at.neighbour)
      );
    };
    await until(all, LIMIT_MS, 'all to be recorded');
  });
});

async function bridgeOf(onNode: (...command: string[]) => Promise<string>): Promise<string> {
  return /: (mbx-\S+):/.exec(await onNode('ip', '-o', 'link', 'show', 'type', 'bridge'))?.[1] ?? '';
}

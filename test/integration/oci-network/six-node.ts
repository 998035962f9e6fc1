/**
 * Where IPv6 packets of a sandbox end up that has every right over its own interface: more than any has. Runs in the
 * network namespace in which the test starts it; its argument is the world's. Prints as JSON who received what, with
 * the rules and then without them.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync, writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { Network } from '../../../agent/runtime/oci/network/network.ts';
import { silent } from '../../../src/lib/logger.ts';
import { until } from '../../helpers/until.ts';
import { Place } from './places.ts';
import { METADATA, NODE, PRIVATE, PUBLIC, SIX } from './world.ts';

const run = promisify(execFile);
const WAIT_MS = 60_000;
const PORT = 9_000;
const FIRST = '2001:db8:2::5';
const SECOND = '2001:db8:2::6';
/** The way out without a configured route: the bridge as a neighbour. */
const HOP = 'fe80::1';

/** By name: what each listener would receive. */
const TARGETS = {
  node: SIX.node,
  everybody: 'ff02::1%eth0',
  neighbour: SECOND,
  public: SIX.public,
  metadata: SIX.metadata,
  private: SIX.private,
  translated: SIX.translated,
  tunnelled: SIX.tunnelled,
  // IPv4 targets, addressed as IPv6.
  mappedPublic: `::ffff:${PUBLIC}`,
  mappedMetadata: `::ffff:${METADATA}`,
  mappedPrivate: `::ffff:${PRIVATE}`,
  mappedNode: `::ffff:${NODE}`,
};

const EAR = `
const socket = require('node:dgram').createSocket('udp6');
socket.on('message', (text) => console.log(String(text)));
socket.bind(${PORT}, '::', () => console.log('ready'));
`;
const MOUTH = `
const [stage, targets] = process.argv.slice(1);
const socket = require('node:dgram').createSocket('udp6');
const all = Object.entries(JSON.parse(targets)).map(([name, address]) =>
  new Promise((done) => socket.send(stage + ' ' + name, ${PORT}, address, () => done())));
Promise.all(all).then(() => socket.close());
`;

const ears: ChildProcess[] = [];
/** As `who stage target`. */
const heard: string[] = [];

async function listen(who: string, namespace: string): Promise<void> {
  const ear = spawn('nsenter', [`--net=${namespace}`, process.execPath, '-e', EAR], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  ears.push(ear);
  const lines = createInterface({ input: ear.stdout });
  await once(lines, 'line');
  lines.on('line', (line) => heard.push(`${who} ${line}`));
}

const inside = async ({ pid }: Place, ...command: string[]): Promise<string> =>
  (await run('nsenter', [`--net=/proc/${pid}/ns/net`, ...command], { timeout: WAIT_MS })).stdout;

async function macOf(place: Place): Promise<string> {
  const [card] = JSON.parse(await inside(place, 'ip', '-j', 'link', 'show', 'eth0')) as { address: string }[];
  return card?.address ?? '';
}

async function speakSix(place: Place, address: string, bridgeMac: string): Promise<void> {
  const commands = [
    `addr add ${address}/64 dev eth0 nodad`,
    `addr add fe80::${address.split('::')[1]}/64 dev eth0 nodad`,
    `neigh add ${HOP} lladdr ${bridgeMac} dev eth0`,
    `route add default via ${HOP} dev eth0`,
  ];
  for (const command of commands) await inside(place, 'ip', '-6', ...command.split(' '));
}

async function main(around: string, places: Place[]): Promise<object> {
  // As on a node that forwards IPv6 for others.
  writeFileSync('/proc/sys/net/ipv6/conf/all/forwarding', '1');
  const network = new Network({ tag: 'six', resolvers: [], lookEveryMs: WAIT_MS, log: silent });
  for (const id of ['first', 'second']) {
    const place = await Place.open(id);
    places.push(place);
    await network.setUp(await network.connect(place.id, place.dir, place.pid), place.pid);
  }
  const [first, second] = places;
  if (first === undefined || second === undefined) throw new Error('no places');
  const { stdout } = await run('ip', ['-j', 'link', 'show', 'type', 'bridge']);
  const [bridge] = JSON.parse(stdout) as { address: string }[];
  const own = (await run('ip', ['-6', '-o', 'addr', 'show', 'up', 'scope', 'link'])).stdout.split('\n');
  await speakSix(first, FIRST, bridge?.address ?? '');
  await speakSix(second, SECOND, bridge?.address ?? '');
  // No packet waits for neighbour discovery: it would be sent later, when it is no longer blocked.
  await inside(first, 'ip', '-6', 'neigh', 'add', SECOND, 'lladdr', await macOf(second), 'dev', 'eth0');
  await listen('node', '/proc/self/ns/net');
  await listen('world', around);
  await listen('second', `/proc/${second.pid}/ns/net`);

  const say = async (stage: string): Promise<unknown> =>
    await inside(first, process.execPath, '-e', MOUTH, stage, JSON.stringify(TARGETS));
  await say('guarded');
  await run('nft', ['flush', 'ruleset']);
  for (const line of (await run('ip', ['-o', 'link', 'show', 'type', 'veth'])).stdout.split('\n')) {
    const [, device] = /^\d+: (mb[^@]+)@/.exec(line) ?? [];
    if (device !== undefined) await run('ip', ['link', 'set', device, 'type', 'bridge_slave', 'isolated', 'off']);
  }
  await say('open');
  // Packets sent earlier would have been received earlier.
  const all = [...Object.keys(TARGETS), 'everybody'];
  await until(() => heard.filter((line) => line.includes(' open ')).length >= all.length, WAIT_MS, 'all to be heard');

  for (const place of places) {
    await inside(place, 'ip', 'link', 'delete', 'eth0');
    await network.disconnect(place.id);
  }
  await network.close();
  const of = (stage: string): string[] =>
    heard.flatMap((line) => (line.includes(` ${stage} `) ? [line.replace(` ${stage}`, '')] : [])).sort();
  return { bridgeHasSix: own.some((line) => / mbx-/.test(line)), guarded: of('guarded'), open: of('open') };
}

const places: Place[] = [];
try {
  const report = await main(process.argv[2] ?? '', places);
  writeSync(1, JSON.stringify(report));
} finally {
  for (const ear of ears) ear.kill('SIGKILL');
  for (const place of places) await place.close();
}

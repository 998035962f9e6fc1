/**
 * A node's operations on the network of sandboxes, step by step, in the network namespace in which the test runs this
 * program. Prints a report as JSON.
 */
import { execFile } from 'node:child_process';
import { writeSync } from 'node:fs';
import { promisify } from 'node:util';
import { Network } from '../../../agent/runtime/oci/network/network.ts';
import { silent, type Logger } from '../../../src/lib/logger.ts';
import { until } from '../../helpers/until.ts';
import { Place } from './places.ts';

const run = promisify(execFile);
const WAIT_MS = 60_000;

/** Errors logged by agents. */
const errors: string[] = [];
const log: Logger = { ...silent, error: (_, message) => void errors.push(message), child: () => log };

const open = (tag: string): Network => new Network({ tag, resolvers: ['10.99.0.53'], lookEveryMs: 200, log });

/** What a container engine does to a machine: nothing is forwarded except through its own chain. */
async function likeDocker(): Promise<void> {
  await run('iptables', ['-w', '-N', 'DOCKER-USER']);
  await run('iptables', ['-w', '-A', 'FORWARD', '-j', 'DOCKER-USER']);
  await run('iptables', ['-w', '-P', 'FORWARD', 'DROP']);
}

const tables = async (): Promise<string> => (await run('nft', ['list', 'tables'])).stdout;
const links = async (): Promise<string> => (await run('ip', ['-o', 'link'])).stdout;
const dockerRules = async (): Promise<string> => (await run('iptables', ['-w', '-S', 'DOCKER-USER'])).stdout;

/** All attempts from one place at once: a blocked one takes as long as its timeout. */
async function look(place: Place, targets: Record<string, string>): Promise<Record<string, string>> {
  const all = Object.entries(targets).map(async ([name, target]) => {
    const [address = '', protocol] = target.split('/');
    return [name, await place.reaches(address, protocol === 'udp' ? 'udp' : 'tcp')] as const;
  });
  return Object.fromEntries(await Promise.all(all));
}

async function main(places: Place[]): Promise<object> {
  const place = async (id: string): Promise<Place> => {
    const made = await Place.open(id);
    places.push(made);
    return made;
  };
  await likeDocker();
  const [first, second, third, other] = [
    await place('first'),
    await place('second'),
    await place('third'),
    await place('other'),
  ];
  const network = open('agent-a');
  const elsewhere = open('agent-b');
  const report: Record<string, unknown> = { before: (await tables()).includes('millibox') };

  const connect = async (to: Network, { id, dir, pid }: Place): Promise<string> => {
    const card = await to.connect(id, dir, pid);
    await to.setUp(card, pid);
    return card.address;
  };
  const [firstAddress, secondAddress, otherAddress] = await Promise.all([
    connect(network, first),
    connect(network, second),
    connect(elsewhere, other),
  ]);
  report['distinct'] = new Set([firstAddress, secondAddress, otherAddress]).size;
  const targets = {
    public: '203.0.113.10:80',
    resolver: '10.99.0.53:53',
    resolverByUdp: '10.99.0.53:53/udp',
    otherPortOfResolver: '10.99.0.53:80',
    metadata: '169.254.169.254:80',
    private: '10.99.0.1:80',
    udpElsewhere: '10.99.0.1:53/udp',
    neighbour: `${secondAddress}:8000`,
    ofAnotherAgent: `${otherAddress}:8000`,
    itself: `${firstAddress}:8000`,
  };
  report['first'] = await look(first, targets);
  report['cut off'] = await look(third, targets);

  // A firewall is reloaded.
  await run('nft', ['flush', 'ruleset']);
  await likeDocker();
  const guarded = async (): Promise<boolean> => {
    const told = await tables();
    return (
      (told.match(/table inet millibox/g) ?? []).length === 2 && (await dockerRules()).match(/ACCEPT/g)?.length === 4
    );
  };
  await until(guarded, WAIT_MS, 'the rules to be back');
  // Or its tables are emptied, and stay with their chains.
  for (const [, table = ''] of (await tables()).matchAll(/table inet (millibox\S*)/g)) {
    const rules = async (): Promise<string> => (await run('nft', ['list', 'table', 'inet', table])).stdout;
    await run('nft', ['flush', 'table', 'inet', table]);
    await until(async () => (await rules()).includes('jump out'), WAIT_MS, 'the rules to be back in their table');
  }

  // Another firewall, unknown to the agent, drops forwarded packets.
  await run('nft', ['add table inet other']);
  await run('nft', ['add chain inet other forward { type filter hook forward priority 10; policy drop; }']);
  report['dropped'] = await look(first, { public: targets.public });
  await until(() => errors.length > 0, WAIT_MS, 'the agent to tell of the other firewall');
  await run('nft', ['delete table inet other']);
  report['errors'] = errors;

  report['after a flush'] = await look(first, targets);

  // Connection tracking has room for many more than one sandbox may take.
  await second.scatter('203.0.113.10:9', 8_192);
  const known = await run('sysctl', ['-n', 'net.netfilter.nf_conntrack_count']);
  report['scattered'] = Number(known.stdout);
  report['beside it'] = await look(first, { public: targets.public, resolverByUdp: targets.resolverByUdp });

  // The agent leaves its sandboxes to the next one, which finds everything in place.
  await network.close();
  const next = open('agent-a');
  for (const { id, dir } of [first, second]) next.adopt(id, dir);
  const thirdAddress = await connect(next, third);
  report['adopted'] = thirdAddress !== firstAddress && thirdAddress !== secondAddress;
  report['after a restart'] = await look(first, { public: targets.public, metadata: targets.metadata });
  report['late'] = await look(third, { public: targets.public, neighbour: `${firstAddress}:8000` });

  await next.close();
  report['kept while in use'] = (await links()).includes('mbx-');
  // They continue, and keep their network namespaces: the veth pairs have to be removed.
  await Promise.all([first, second, third].map(({ id }) => next.disconnect(id)));
  report['disconnected'] = await look(first, { public: targets.public });
  await next.close();
  await elsewhere.disconnect('other');
  await elsewhere.close();
  report['left'] = [
    (await tables()).includes('millibox'),
    /mb/.test((await links()).replaceAll(/^.*(lo|up0)[:@].*$/gm, '')),
    (await dockerRules()).includes('ACCEPT'),
  ];
  return report;
}

const places: Place[] = [];
try {
  const report = await main(places);
  writeSync(1, JSON.stringify(report));
} finally {
  for (const place of places) await place.close();
}

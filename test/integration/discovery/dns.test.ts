/** Nodes by DNS name, with a real resolver that queries a test name server. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { parseDiscoveryConfig, type Family } from '../../../src/gateway/discovery/config.ts';
import { DnsDiscovery } from '../../../src/gateway/discovery/dns.ts';
import { silent } from '../../../src/lib/logger.ts';
import { until } from '../../helpers/until.ts';
import { NameServer } from './name-server.ts';

const LIMIT_MS = 60_000;
const AGENTS = 'agents.example.internal';

let server: NameServer;
let discovery: DnsDiscovery | null;
let nodes: string[] | null;
let whole: boolean;

beforeEach(async () => {
  server = await NameServer.start();
  discovery = null;
  nodes = null;
});
afterEach(async () => {
  await discovery?.stop();
  await server[Symbol.asyncDispose]();
});

function discover(names: string, family: Family = 'auto'): void {
  const { source } = parseDiscoveryConfig({
    MILLIBOX_DISCOVERY: 'dns',
    MILLIBOX_DNS_NAMES: names,
    MILLIBOX_DNS_SERVERS: server.address,
    MILLIBOX_DNS_INTERVAL_MS: '100',
  });
  if (source.type !== 'dns') throw new Error('not dns');
  discovery = new DnsDiscovery({ ...source.dns, family, log: silent });
  discovery.start((published, all) => {
    nodes = published.map(({ id, url }) => (id === undefined ? url : `${id} ${url}`)).sort();
    whole = all;
  });
}

const tells = (...expected: string[]): Promise<void> =>
  until(() => JSON.stringify(nodes) === JSON.stringify(expected), LIMIT_MS, expected.join(', '));
async function rounds(count: number): Promise<void> {
  const before = server.queries;
  await until(() => server.queries >= before + count, LIMIT_MS, 'more queries');
}

test('the addresses behind a name are nodes, which come and go', async () => {
  server.records.set(AGENTS, ['10.0.0.1', '10.0.0.2']);
  discover(`${AGENTS}:8701`);
  await tells('ws://10.0.0.1:8701', 'ws://10.0.0.2:8701');
  server.records.set(AGENTS, ['10.0.0.2', '10.0.0.3']);
  await tells('ws://10.0.0.2:8701', 'ws://10.0.0.3:8701');
});

test('of two address families one is used, so that no agent is two nodes', async () => {
  server.records.set(AGENTS, ['10.0.0.1', 'fd00::1']);
  discover(`${AGENTS}:8701`);
  await tells('ws://10.0.0.1:8701');
  await discovery?.stop();
  discover(`${AGENTS}:8701`, '6');
  await tells('ws://[fd00::1]:8701');
  await discovery?.stop();
  server.records.set(AGENTS, ['fd00::2']);
  discover(`${AGENTS}:8701`);
  await tells('ws://[fd00::2]:8701');
});

test('the targets of a service are nodes, whatever their addresses', async () => {
  server.records.set('_node._tcp.example.internal', ['one.example.internal:9001', 'two.example.internal:9002']);
  server.records.set('one.example.internal', ['10.0.0.1']);
  server.records.set('two.example.internal', ['fd00::2']);
  discover('_node._tcp.example.internal');
  await tells('one.example.internal:9001 ws://10.0.0.1:9001', 'two.example.internal:9002 ws://[fd00::2]:9002');
  server.records.set('one.example.internal', ['10.0.0.9']);
  await tells('one.example.internal:9001 ws://10.0.0.9:9001', 'two.example.internal:9002 ws://[fd00::2]:9002');
});

test.each([2, 5] as const)('a resolver that answers with code %d changes nothing', async (failure) => {
  server.records.set(AGENTS, ['10.0.0.1']);
  discover(`${AGENTS}:8701`);
  await tells('ws://10.0.0.1:8701');
  server.failure = failure;
  await rounds(8);
  expect(nodes).toEqual(['ws://10.0.0.1:8701']);
  server.failure = null;
  server.records.set(AGENTS, ['10.0.0.2']);
  await tells('ws://10.0.0.2:8701');
});

test("a silent resolver changes nothing, and does not delay a gateway's exit", async () => {
  server.records.set(AGENTS, ['10.0.0.1']);
  discover(`${AGENTS}:8701`);
  await tells('ws://10.0.0.1:8701');
  server.failure = 'silent';
  await rounds(2);
  expect(nodes).toEqual(['ws://10.0.0.1:8701']);
  await discovery?.stop();
});

test('a node missing from one answer stays', async () => {
  server.records.set(AGENTS, ['10.0.0.1', '10.0.0.2']);
  discover(`${AGENTS}:8701`);
  await tells('ws://10.0.0.1:8701', 'ws://10.0.0.2:8701');
  const seen = new Set<number>();
  for (let round = 0; round < 6; round++) {
    server.records.set(AGENTS, round % 2 === 0 ? ['10.0.0.1'] : ['10.0.0.2']);
    await rounds(1);
    seen.add(nodes?.length ?? 0);
  }
  expect([...seen]).toEqual([2]);
});

test('nothing is published before the first answer; a name without records is an answer', async () => {
  server.failure = 2;
  discover(`${AGENTS}:8701`);
  await rounds(3);
  expect(nodes).toBeNull();
  server.failure = null;
  await tells();
});

test('of two names, the one that resolves is used at once, and does not count as complete', async () => {
  server.records.set(AGENTS, ['10.0.0.1']);
  server.records.set('more.example.internal', ['10.0.0.2']);
  server.failing.add('more.example.internal');
  discover(`${AGENTS}:8701,more.example.internal:8701`);
  await tells('ws://10.0.0.1:8701');
  expect(whole).toBe(false);
  server.failing.clear();
  await tells('ws://10.0.0.1:8701', 'ws://10.0.0.2:8701');
  expect(whole).toBe(true);
});

/** How many veth pairs a node creates, and with which addresses. Everything is in namespaces of this test. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Bench, LIMITS, run } from '../../../agent/runtime/contract/subject.ts';
import { codeOf } from '../../../agent/testing/code-of.ts';
import { Network } from '../../../agent/runtime/oci/network/network.ts';
import { silent } from '../../../src/lib/logger.ts';
import { Place } from '../oci-network/places.ts';
import { lacking } from '../oci-network/world.ts';
import { ociSubject } from './subject.ts';

const missing = await lacking();
let uplink: Place;
const places: Place[] = [];
beforeAll(async () => {
  uplink = await Place.open('uplink');
  for (const id of ['a', 'b', 'c', 'd']) places.push(await Place.open(id));
});
afterAll(async () => {
  for (const each of [uplink, ...places]) await each?.close();
});

const open = (tag: string, maxVeths: number): Network =>
  new Network({ tag, resolvers: [], uplinkPid: uplink.pid, maxVeths, log: silent });
const connect = async (network: Network, { id, dir, pid }: Place): Promise<string> =>
  (await network.connect(id, dir, pid)).address;

test.skipIf(missing !== '')("concurrent connects never exceed the bridge's ports", async () => {
  const [first] = places as [Place];
  const network = open('crowded', 2);
  const codes = await Promise.all(places.map((place) => codeOf(connect(network, place))));
  expect(codes.sort()).toEqual(['capacity_exhausted', 'capacity_exhausted', 'no error', 'no error']);
  for (const place of places) await network.disconnect(place.id);
  // The room is free again.
  expect(await codeOf(connect(network, first))).toBe('no error');
  await network.disconnect(first.id);
  await network.close();
});

test.skipIf(missing !== '')('no address is assigned while that of a running sandbox cannot be read', async () => {
  const [a, b] = places as [Place, Place];
  const before = open('unread', 10);
  const address = await connect(before, a);
  const record = join(a.dir, 'cable.json');
  const text = readFileSync(record, 'utf8');
  writeFileSync(record, text.slice(0, -5));

  const later = open('unread', 10);
  later.adopt(a.id, a.dir);
  expect(await codeOf(connect(later, b))).toBe('capacity_exhausted');
  writeFileSync(record, text);
  expect(await connect(later, b)).not.toBe(address);
  writeFileSync(record, text.slice(0, -5));
  for (const place of [a, b]) await later.disconnect(place.id);

  // One that ends delays nobody.
  const last = open('unread', 10);
  last.adopt(a.id, a.dir);
  await last.disconnect(a.id);
  expect(await codeOf(connect(last, b))).toBe('no error');
  await last.disconnect(b.id);
  for (const network of [before, later, last]) await network.close();
});

test.skipIf(missing !== '')('a closing runtime lets claims finish', async () => {
  await using bench = await Bench.open(ociSubject({ uplinkPid: uplink.pid, resolvers: [] }));
  const launched = [await bench.launch(), await bench.launch()];
  const limits = { ...LIMITS, diskMb: 8 };
  const ended: string[] = [];
  const claims = launched.map(async (each) => {
    ended.push(await codeOf(bench.claim(each, { network: 'internet', limits })));
  });
  await bench.runtime.close();
  // By now, not later: what they need is gone.
  expect(ended).toEqual(['no error', 'no error']);
  await Promise.all(claims);
  for (const { link } of launched) expect((await run(link, ['true'])).exit.exitCode).toBe(0);
});

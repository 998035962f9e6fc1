/** A box of an earlier agent with an unreadable record is left alone: its sandbox may be running. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ContainerHomes } from '../../../agent/pool/container-homes.ts';
import { Launcher } from '../../../agent/pool/launcher.ts';
import { Bench, LIMITS, run, type ContractSubject } from '../../../agent/runtime/contract/subject.ts';
import type { ContainerRuntime } from '../../../agent/runtime/runtime.ts';
import { silent } from '../../../src/lib/logger.ts';
import { Place } from '../oci-network/places.ts';
import { lacking } from '../oci-network/world.ts';
import { gvisorSubject } from './subject.ts';

const fileOf = (bench: Bench, id: string, name: string): string => join(bench.dataDir, 'gvisor', 'boxes', id, name);
const addressOf = (bench: Bench, id: string): string =>
  (JSON.parse(readFileSync(fileOf(bench, id, 'cable.json'), 'utf8')) as { address: string }).address;
const inUse = async (runtime: ContainerRuntime): Promise<string[]> =>
  (await runtime.images.list()).filter((image) => image.inUse).map(({ id }) => id);

/** Opens what an agent after the bench's opens; disposed before the bench is. */
async function agentAfter(bench: Bench, subject: ContractSubject): Promise<ContainerRuntime & AsyncDisposable> {
  const runtime = await subject.open(bench.dataDir);
  return Object.assign(runtime, {
    [Symbol.asyncDispose]: async () => {
      for (const { id } of await runtime.list()) await runtime.destroy(id);
      await runtime.close();
    },
  });
}

test('it continues, its image is in use, and it is adopted once its record can be read', async () => {
  const subject = gvisorSubject();
  await using bench = await Bench.open(subject);
  const { container, link } = await bench.claimed();
  const { id } = container;
  const record = fileOf(bench, id, 'state.json');
  const text = readFileSync(record, 'utf8');
  writeFileSync(record, '{');
  await using later = await agentAfter(bench, subject);
  expect(await later.list()).toEqual([{ id, running: true, imageId: null }]);
  expect(await inUse(later)).toEqual([bench.image.id]);
  expect((await run(link, ['echo', 'lives'])).stdout).toBe('lives\n');

  writeFileSync(record, text);
  expect(await later.list()).toEqual([{ id, running: true, imageId: bench.image.id }]);
  await later.destroy(id);
  expect(await later.list()).toEqual([]);
  expect(await inUse(later)).toEqual([]);
});

const missing = await lacking();
test.skipIf(missing !== '')('its address is given to no other, and it ends like any other', async () => {
  const uplink = await Place.open('uplink');
  try {
    const subject = gvisorSubject({ uplinkPid: uplink.pid, resolvers: [] });
    await using bench = await Bench.open(subject);
    const { id } = (await bench.claimed({ network: 'internet' })).container;
    writeFileSync(fileOf(bench, id, 'state.json'), '{');
    await using later = await agentAfter(bench, subject);
    const launcher = new Launcher(later, new ContainerHomes(bench.dataDir), silent);
    const spec = { poolKey: 'later', image: bench.image, limits: LIMITS, network: 'internet' as const };
    const { container, link } = await launcher.launch(spec, new AbortController().signal);
    link.close();
    expect(addressOf(bench, container.id)).not.toBe(addressOf(bench, id));

    for (const each of [container.id, id]) await later.destroy(each);
    expect(await later.list()).toEqual([]);
    expect(await inUse(later)).toEqual([]);
  } finally {
    await uplink.close();
  }
});

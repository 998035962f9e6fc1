/** A node whose disk is full or gone: nothing runs that the next agent would not know about. */
import { renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { Harness, newSpec, until } from '../testing/harness.ts';
import { RecordStore } from './record-store.ts';

afterEach(() => vi.restoreAllMocks());

/** Makes records unwritable until disposed. */
function withoutDisk(dataDir: string): Disposable {
  const records = path.join(dataDir, 'sandboxes');
  renameSync(records, `${records}.away`);
  return {
    [Symbol.dispose]: () => {
      rmSync(records, { recursive: true, force: true });
      renameSync(`${records}.away`, records);
    },
  };
}

/** Makes writing fail for the record in which a sandbox first has this status. */
function refuseStatus(status: string): void {
  const save = RecordStore.prototype.save;
  vi.spyOn(RecordStore.prototype, 'save').mockImplementation(function (this: RecordStore, stored) {
    if (stored.record.status === status) throw new Error('ENOSPC: no space left on device, write');
    save.call(this, stored);
  });
}

test.for([
  { what: 'a warm container', env: { MILLIBOX_POOL_MIN: '2' }, image: 'image', warm: 2 },
  { what: 'no container yet', env: { MILLIBOX_POOL_MIN: '0' }, image: 'image', warm: 0 },
  { what: 'an image to pull', env: { MILLIBOX_POOL_MIN: '0' }, image: 'other', warm: 0 },
])('a create that cannot be recorded is refused and leaves nothing: $what', async ({ env, image, warm }) => {
  await using h = await Harness.fake({ pullMs: 20, launchMs: 20 }, { ...env, MILLIBOX_MAX_SANDBOXES: '1' });
  await h.warm(warm);
  const events = h.client.watch();
  await until('the snapshot is here', () => events.length > 0);
  const spec = newSpec({ image });
  {
    using _ = withoutDisk(h.dataDir);
    await expect(h.client.create(spec)).rejects.toMatchObject({ code: 'internal' });
    expect(() => h.agent.sandboxes.get(spec.id)).toThrow('no sandbox');
  }
  // Its place is free again, and it was never announced.
  await until('the same create is accepted', async () => {
    return await h.client.create(spec).then(
      () => true,
      () => false,
    );
  });
  await h.reaches(spec.id, 'RUNNING');
  const told = events.flatMap((event) => (event.type === 'sandbox' ? [event.sandbox.status] : []));
  expect(told).not.toContain('ERROR');
});

test('no call is let into a sandbox whose RUNNING cannot be recorded', async () => {
  await using h = await Harness.fake({ launchMs: 100 }, { MILLIBOX_POOL_MIN: '0' });
  refuseStatus('RUNNING');
  const spec = newSpec();
  await h.client.create(spec);
  const opened = vi.spyOn(h.agent.sandboxes.get(spec.id), 'letIn');
  const call = h.client.exec(spec.id, { argv: ['true'] });
  await expect(call).rejects.toMatchObject({ code: 'sandbox_ended' });
  expect(opened).not.toHaveBeenCalled();
  expect(h.record(spec.id)).toMatchObject({ status: 'ERROR', reason: 'internal' });
  await until('its container is gone', async () => (await h.runtime.list()).length === 0);
});

test('a lifetime whose extension cannot be recorded is unchanged, and the sandbox continues', async () => {
  await using h = await Harness.fake();
  const { id, expiresAtMs } = await h.sandbox();
  const later = { op: 'extend', sandbox: id, expiresAtMs: expiresAtMs + 3_600_000 };
  {
    using _ = withoutDisk(h.dataDir);
    await expect(h.client.call(later)).rejects.toMatchObject({ code: 'internal' });
    expect(h.record(id)).toMatchObject({ status: 'RUNNING', expiresAtMs });
  }
  expect((await h.client.exec(id, { argv: ['true'] })).exit.exitCode).toBe(0);
  await h.client.call(later);
  expect(h.record(id).expiresAtMs).toBeGreaterThan(expiresAtMs);
});

/** A sandbox that is still being created: calls waiting for its id end at their own limits. */
import { expect, onTestFinished, test } from 'vitest';
import type { CallOptions } from './http.ts';
import { Sandbox } from './sandbox.ts';
import { fakeClient } from './testing/fake-client.ts';

const CALLS: [string, (sandbox: Sandbox, limits: CallOptions) => Promise<unknown>][] = [
  ['files.read', (sandbox, limits) => sandbox.files.read('/a', limits)],
  ['files.write', (sandbox, limits) => sandbox.files.write('/a', 'text', limits)],
  ['files.stat', (sandbox, limits) => sandbox.files.stat('/a', limits)],
  ['files.list', (sandbox, limits) => sandbox.files.list('/a', limits)],
  ['files.uploadTar', (sandbox, limits) => sandbox.files.uploadTar('/a', 'tar', limits)],
  ['files.downloadTar', (sandbox, limits) => sandbox.files.downloadTar('/a', limits).next()],
  ['jobs.start', (sandbox, limits) => sandbox.jobs.start('true', limits)],
  ['jobs.list', (sandbox, limits) => sandbox.jobs.list(limits)],
  ['ports.preview', (sandbox, limits) => sandbox.ports.preview(80, limits)],
  ['ports.connect', (sandbox, limits) => sandbox.ports.connect(80, limits)],
  ['refresh', (sandbox, limits) => sandbox.refresh(limits)],
  ['delete', (sandbox, limits) => sandbox.delete(limits)],
  ['extend', (sandbox, limits) => sandbox.extend(1_000, limits)],
];

function beingCreated(): Sandbox {
  const { connection, http } = fakeClient(() => undefined);
  return new Sandbox({ connection, http, resumeMs: 1_000 }, new Promise(() => undefined));
}

test.each(CALLS)('%s can be cancelled, and has its deadline', async (_, call) => {
  const abort = new AbortController();
  const given = expect(call(beingCreated(), { signal: abort.signal })).rejects.toThrow('enough');
  setImmediate(() => abort.abort(new Error('enough')));
  await given;
  await expect(call(beingCreated(), { deadlineMs: 20 })).rejects.toMatchObject({ code: 'deadline_exceeded' });
});

test('a watch can be cancelled', async () => {
  const abort = new AbortController();
  onTestFinished(() => abort.abort());
  const given = expect(beingCreated().files.watch('/a', { signal: abort.signal }).next()).rejects.toThrow('enough');
  setImmediate(() => abort.abort(new Error('enough')));
  await given;
});

import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test, vi } from 'vitest';
import { Channel } from '../../src/protocol/frames.ts';
import { Harness, newSpec, until } from '../testing/harness.ts';
import { RecordStore } from './record-store.ts';

test('after a restart sandboxes and their commands continue, and warm containers return to their pools', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox({ env: { A: 'kept' }, secrets: { S: 'kept too' } });
  const command = 'echo begun; cat; echo ended; exit 3';
  const running = h.client.start({ op: 'exec', sandbox: id, id: 'exe-long', command, stdin: true });
  await running.opened;
  await h.warm(2);
  const before = new Set((await h.runtime.list()).map((container) => container.id));
  await h.restart();
  const again = h.client.start({ op: 'attach', sandbox: id, id: 'exe-long' });
  await again.opened;
  again.stream.fin(Channel.STDIN);
  const rest = await again.outcome;
  expect([rest.stdout.toString(), rest.exit.exitCode]).toEqual(['begun\nended\n', 3]);
  expect((await h.client.exec(id, { command: 'echo $A $S' })).stdout.toString()).toBe('kept kept too\n');
  await h.warm(2);
  expect(new Set((await h.runtime.list()).map((container) => container.id))).toEqual(before);
});

test('an exec right after a restart waits until boxinit has reconnected', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  await h.restart();
  expect((await h.client.exec(id, { argv: ['true'] })).exit.exitCode).toBe(0);
});

test('a sandbox whose container is gone after a restart has ended', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  await h.agent.stop();
  await h.runtime.destroy(h.containerOf(id));
  await h.restart();
  expect(h.record(id)).toMatchObject({ status: 'ERROR', reason: 'internal' });
});

test('a sandbox that was still starting is started by the next agent', async () => {
  await using h = await Harness.fake({ launchMs: 500 }, { MILLIBOX_POOL_MIN: '0' });
  const spec = newSpec({ env: { A: 'kept' } });
  await h.client.create(spec);
  await h.restart();
  expect((await h.client.exec(spec.id, { argv: ['printenv', 'A'] })).stdout.toString()).toBe('kept\n');
  await h.agent.orphans.look();
  await h.agent.orphans.look();
  await until('one container is left', async () => (await h.runtime.list()).length === 1);
});

test('ended sandboxes stay known after a restart, and create stays idempotent', async () => {
  await using h = await Harness.fake();
  const spec = newSpec();
  await h.client.create(spec);
  await h.client.delete(spec.id);
  await h.restart();
  expect((await h.client.create(spec)).status).toBe('TERMINATED');
});

test('records are readable by the agent only, and secrets leave them when the sandbox ends', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox({ secrets: { S: 'do not keep me' } });
  const file = path.join(h.dataDir, 'sandboxes', `${id}.json`);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(readFileSync(file, 'utf8')).toContain('do not keep me');
  await h.client.delete(id);
  await until('the secret is gone', () => !readFileSync(file, 'utf8').includes('do not keep me'));
});

test('a malformed record is set aside, and the others are adopted', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  await h.agent.stop();
  writeFileSync(path.join(h.dataDir, 'sandboxes', 'sbx-broken.json'), '{"version":1');
  await h.restart();
  expect(h.record(id).status).toBe('RUNNING');
  expect(readdirSync(path.join(h.dataDir, 'sandboxes'))).toContain('sbx-broken.json.unreadable');
});

test('an orphaned container is destroyed at the second look, not the first', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  const container = h.containerOf(id);
  await h.warm(2);
  await h.agent.stop();
  // As if the record had never been written.
  rmSync(path.join(h.dataDir, 'sandboxes', `${id}.json`));
  await h.restart();
  const exists = async (): Promise<boolean> => (await h.runtime.list()).some((each) => each.id === container);
  await h.agent.orphans.look();
  expect(await exists()).toBe(true);
  await h.agent.orphans.look();
  await until('the orphan is gone', async () => !(await exists()));
  await until('its directory too', () => !readdirSync(path.join(h.dataDir, 'c')).includes(container));
});

test('a container in which user code has run never returns to a pool', async () => {
  await using h = await Harness.fake({}, { MILLIBOX_POOL_MIN: '1', MILLIBOX_POOL_MAX: '1' });
  const { id } = await h.sandbox();
  const used = h.containerOf(id);
  await h.agent.stop();
  rmSync(path.join(h.dataDir, 'sandboxes', `${id}.json`));
  await h.restart();
  const next = await Promise.all([h.sandbox(), h.sandbox(), h.sandbox()]);
  expect(next.map((record) => h.containerOf(record.id))).not.toContain(used);
});

test('a sandbox that cannot be adopted ends, and the others continue', async () => {
  await using h = await Harness.fake();
  const [bad, good] = [await h.sandbox(), await h.sandbox()];
  const container = h.containerOf(bad.id);
  await h.agent.stop();
  // No socket can be created there any more.
  rmSync(path.join(h.dataDir, 'c', container, 'run'), { recursive: true });
  await h.restart();
  expect(h.record(bad.id)).toMatchObject({ status: 'ERROR', reason: 'internal' });
  expect((await h.client.exec(good.id, { argv: ['true'] })).exit.exitCode).toBe(0);
  const ids = async (): Promise<string[]> => (await h.runtime.list()).map(({ id }) => id);
  await until('its container is gone', async () => !(await ids()).includes(container));
});

test('a warm container that cannot be adopted is replaced, and the others return to their pools', async () => {
  await using h = await Harness.fake();
  await h.warm(2);
  const [bad = '', good] = (await h.runtime.list()).map(({ id }) => id);
  await h.agent.stop();
  rmSync(path.join(h.dataDir, 'c', bad, 'run'), { recursive: true });
  await h.restart();
  await h.warm(2);
  const ids = async (): Promise<string[]> => (await h.runtime.list()).map(({ id }) => id);
  await until('it is gone', async () => !(await ids()).includes(bad));
  expect(await ids()).toContain(good);
});

/** Makes reading the file fail, even for root, until the returned function is called. */
function spoil(file: string): () => void {
  renameSync(file, `${file}.kept`);
  mkdirSync(file);
  return () => {
    rmSync(file, { recursive: true });
    renameSync(`${file}.kept`, file);
  };
}

const UNREADABLE = [
  ['record', (id: string, _container: string) => ['sandboxes', `${id}.json`]],
  ['container', (_id: string, container: string) => ['c', container, 'meta.json']],
] as const;

test.each(UNREADABLE)(
  'a sandbox whose %s is unreadable is left untouched with everything it owns, until it can be read',
  async (_what, where) => {
    await using h = await Harness.fake();
    const [{ id }, other] = [await h.sandbox(), await h.sandbox()];
    const job = h.client.start({ op: 'exec', sandbox: id, id: 'exe-job', command: 'echo kept; cat', background: true });
    await job.opened;
    const container = h.containerOf(id);
    await h.agent.stop();
    const mend = spoil(path.join(h.dataDir, ...where(id, container)));
    await h.restart();
    expect(h.agent.sandboxes.has(id)).toBe(false);
    expect((await h.client.exec(other.id, { argv: ['true'] })).exit.exitCode).toBe(0);
    for (const _look of ['first', 'second'])
      await expect(h.agent.orphans.look()).rejects.toMatchObject({ code: 'internal' });
    await h.agent.stop();
    mend();
    await h.restart();
    expect(h.record(id)).toMatchObject({ status: 'RUNNING' });
    expect(h.containerOf(id)).toBe(container);
    expect((await h.client.start({ op: 'attach', sandbox: id, id: 'exe-job' }).outcome).stdout.toString()).toBe(
      'kept\n',
    );
  },
);

test.each(UNREADABLE)('one whose %s is unreadable also ends if the agent leaves nothing', async (_what, where) => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  const container = h.containerOf(id);
  await h.agent.stop();
  spoil(path.join(h.dataDir, ...where(id, container)));
  await h.restart();
  expect(h.agent.sandboxes.has(id)).toBe(false);
  await h.agent.stop({ destroy: true });
  expect(await h.runtime.list()).toEqual([]);
});

test('a record that is unreadable only for a moment is adopted', async () => {
  await using h = await Harness.fake();
  const { id } = await h.sandbox();
  await h.agent.stop();
  const mend = spoil(path.join(h.dataDir, 'sandboxes', `${id}.json`));
  const { load } = RecordStore.prototype;
  vi.spyOn(RecordStore.prototype, 'load').mockImplementationOnce(function (this: RecordStore) {
    const found = load.call(this);
    mend();
    return found;
  });
  await h.restart();
  expect(h.record(id)).toMatchObject({ status: 'RUNNING' });
  await h.agent.orphans.look();
});

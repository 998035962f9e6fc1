/** Blanks stopped from outside: by an operator, a debugger, or a frozen cgroup. */
import { expect, test } from 'vitest';
import { Bench } from '../../../agent/runtime/contract/subject.ts';
import { codeOf } from '../../../agent/testing/code-of.ts';
import { isAlive } from '../../../agent/runtime/oci/pids.ts';
import type { ContainerRuntime } from '../../../agent/runtime/runtime.ts';
import { Harness, newSpec } from '../../../agent/testing/harness.ts';
import { until } from '../../helpers/until.ts';
import { ociSubject, processOf } from './subject.ts';

const LIMIT_MS = 60_000;
const subject = ociSubject();

/** An agent with this many warm blanks. */
async function agentWith(blanks: number): Promise<Harness<ContainerRuntime>> {
  const size = String(blanks);
  const env = { MILLIBOX_POOL_MIN: size, MILLIBOX_POOL_MAX: size, MILLIBOX_DEFAULT_IMAGE: subject.image };
  const h = await Harness.start((dataDir) => subject.open(dataDir), env);
  await h.warm(blanks);
  await until(() => h.runtime.images.get(subject.image) !== undefined, LIMIT_MS, 'the image');
  return h;
}

test('a create whose blank is stopped is served by another one, and never by both', async () => {
  await using h = await agentWith(1);
  const [waiting] = await h.runtime.list();
  if (waiting === undefined) throw new Error('no blank waits');
  const stopped = { ...processOf(h.runtime, waiting.id) };
  process.kill(stopped.pid, 'SIGSTOP');
  const spec = newSpec({ image: subject.image });
  await h.client.create(spec);
  expect(h.containerOf(spec.id)).toBe(waiting.id);
  await h.reaches(spec.id, 'RUNNING');
  expect(h.containerOf(spec.id)).not.toBe(waiting.id);
  await until(() => !isAlive(stopped), LIMIT_MS, 'the end of the first');
  expect((await h.client.exec(spec.id, { argv: ['true'] })).exit.exitCode).toBe(0);
  await until(async () => (await h.runtime.list()).every(({ id }) => id !== waiting.id), LIMIT_MS, 'its end');
});

test('if all blanks are stopped, a create does not wait for each of them in turn', async () => {
  await using h = await agentWith(4);
  const stopped = (await h.runtime.list()).map(({ id }) => ({ ...processOf(h.runtime, id) }));
  for (const { pid } of stopped) process.kill(pid, 'SIGSTOP');
  const { id } = await h.sandbox();
  expect(stopped.map((box) => box.id)).not.toContain(h.containerOf(id));
  await until(() => !stopped.some(isAlive), LIMIT_MS, 'the end of all of them');
});

test('a timed-out claim kills its blank before the caller learns of it', async () => {
  await using bench = await Bench.open(subject);
  const launched = await bench.launch();
  const stopped = { ...processOf(bench.runtime, launched.container.id) };
  process.kill(stopped.pid, 'SIGSTOP');
  expect(await codeOf(bench.claim(launched))).toBe('deadline_exceeded');
  await until(() => !isAlive(stopped), LIMIT_MS, 'the end of the blank');
});

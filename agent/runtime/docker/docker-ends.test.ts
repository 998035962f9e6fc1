/** What is reported of a container that ended, if the engine does not answer at once. */
import { PassThrough } from 'node:stream';
import type Docker from 'dockerode';
import { expect, onTestFinished, test, vi } from 'vitest';
import { silent } from '../../../src/lib/logger.ts';
import type { Exit } from '../exit-listeners.ts';
import { DockerRuntime } from './docker-runtime.ts';
import type { Internet } from './internet.ts';

type Answer = Error | { State: { Pid: number; OOMKilled: boolean } };

const killed: Answer = { State: { Pid: 0, OOMKilled: true } };
const failed = (statusCode?: number): Error => Object.assign(new Error('the engine failed'), { statusCode });

const internet = { close: () => Promise.resolve() } as unknown as Internet;

function runtimeOn(engine: object): DockerRuntime {
  const docker = engine as Docker;
  const runtime = new DockerRuntime({ docker, internet, dataDir: '/none', boxinitPath: '/none', log: silent });
  onTestFinished(() => runtime.close());
  return runtime;
}

/** What is reported of one that ended, if the engine answers like this; and how many answers are left. */
async function told(answers: Answer[]): Promise<{ exit: Exit; left: number }> {
  const events = new PassThrough();
  const engine = {
    getEvents: () => Promise.resolve(events),
    getContainer: () => ({
      inspect: () => {
        const next = answers.shift() ?? failed(404);
        return next instanceof Error ? Promise.reject(next) : Promise.resolve(next);
      },
    }),
  };
  const runtime = runtimeOn(engine);
  const { promise, resolve } = Promise.withResolvers<Exit>();
  runtime.onExit((_id, exit) => resolve(exit));
  events.write(`${JSON.stringify({ Actor: { Attributes: { 'io.millibox.container': 'mbx-1' } } })}\n`);
  return { exit: await promise, left: answers.length };
}

test('an engine that cannot answer why a container ended is asked again', async () => {
  expect(await told([failed(500), failed(), killed])).toEqual({ exit: { oomKilled: true }, left: 0 });
});

test('an end for an unknown reason is not reported as one without an OOM kill', async () => {
  expect(await told([failed(404), killed])).toEqual({ exit: { oomKilled: null }, left: 1 });
});

test('an engine that cannot answer for long is not asked for ever', async () => {
  const { exit, left } = await told(Array.from({ length: 20 }, () => failed(500)));
  expect(exit).toEqual({ oomKilled: null });
  expect(left).toBeGreaterThan(10);
});

test('after a break of the events, what has died unseen is reported, and not what is being made', async () => {
  const streams = [new PassThrough(), new PassThrough()];
  const lists = [[{ Labels: { 'io.millibox.container': 'mbx-died' }, State: 'running', ImageID: 'sha256:1' }], []];
  const made = Promise.withResolvers<void>();
  const runtime = runtimeOn({
    getEvents: vi.fn().mockResolvedValueOnce(streams[0]).mockResolvedValueOnce(streams[1]),
    listContainers: () => Promise.resolve(lists.shift()),
    createContainer: () => made.promise,
    getContainer: () => ({
      start: () => Promise.resolve(),
      inspect: () => Promise.reject(failed(404)),
      remove: () => Promise.resolve(),
    }),
  });
  const image = { ref: 'image', id: 'sha256:1', env: {}, workdir: '/', user: '' };
  const limits = { cpus: 1, memoryMb: 64, diskMb: null, pidsLimit: 64 };
  await runtime.list();
  const launch = runtime.launch({ id: 'mbx-new', image, limits, network: 'off', socketDir: '/none', token: 'token' });
  const ended: string[] = [];
  const oneEnded = new Promise<void>((resolve) => runtime.onExit((id) => resolve(void ended.push(id))));
  streams[0]?.end();
  await oneEnded;
  made.resolve();
  expect((await launch).id).toBe('mbx-new');
  await runtime.destroy('mbx-new');
  expect(ended).toEqual(['mbx-died']);
});

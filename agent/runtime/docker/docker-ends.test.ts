/** What is reported of a container that ended, if the engine does not answer at once. */
import { PassThrough } from 'node:stream';
import type Docker from 'dockerode';
import { expect, onTestFinished, test } from 'vitest';
import { silent } from '../../../src/lib/logger.ts';
import type { Exit } from '../exit-listeners.ts';
import { DockerRuntime } from './docker-runtime.ts';
import type { Internet } from './internet.ts';

type Answer = Error | { State: { Pid: number; OOMKilled: boolean } };

const killed: Answer = { State: { Pid: 0, OOMKilled: true } };
const failed = (statusCode?: number): Error => Object.assign(new Error('the engine failed'), { statusCode });

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
  const internet = { close: () => Promise.resolve() };
  const runtime = new DockerRuntime({
    docker: engine as unknown as Docker,
    internet: internet as unknown as Internet,
    dataDir: '/none',
    boxinitPath: '/none',
    log: silent,
  });
  onTestFinished(() => runtime.close());
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

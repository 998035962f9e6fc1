/** The images, built and run. It takes minutes, so it has to be asked for: `MILLIBOX_TEST_DOCKERFILES=1`. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Millibox, type Sandbox } from '../../src/sdk/index.ts';
import { buildsImages } from '../helpers/config.ts';
import { until } from '../helpers/until.ts';
import { Containers, docker } from './engine.ts';

const MAKE_MS = 1_800_000;
const START_MS = 120_000;

describe.skipIf(!buildsImages())('images (skipped unless MILLIBOX_TEST_DOCKERFILES=1)', () => {
  let containers: Containers;
  let client: Millibox;
  let url: string;
  let sandbox: Sandbox;

  const ready = (): Promise<void> =>
    until(async () => (await fetch(`${url}/readyz`)).ok, START_MS, 'a gateway with a node');

  beforeAll(async () => {
    containers = await Containers.make();
    await containers.startAgent();
    url = await containers.startGateway();
    client = new Millibox({ url, apiKey: containers.key, resumeMs: START_MS });
  }, MAKE_MS);
  afterAll(async () => {
    await client?.[Symbol.asyncDispose]();
    await containers?.[Symbol.asyncDispose]();
  }, START_MS);

  test('the gateway runs as nobody, on a file system that nobody writes', async () => {
    expect(await docker('exec', containers.name('gateway'), 'id', '-u')).toBe('65532');
    await ready();
  });

  test('a command runs in a sandbox of an agent in a container', async () => {
    sandbox = await client.sandboxes.create();
    const { stdout } = await sandbox.exec('echo kept > /tmp/note; cat /proc/1/comm');
    expect(stdout).toBe('boxinit\n');
  });

  test("a command goes on while its agent's container is replaced", async () => {
    const exec = sandbox.exec('for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo $i; sleep 1; done; exit 5', {
      timeoutMs: START_MS,
    });
    await exec.started;
    await containers.stop('agent');
    await containers.startAgent();
    const { stdout, exitCode } = await exec.result;
    expect(stdout.trim().split('\n')).toHaveLength(12);
    expect(exitCode).toBe(5);
    expect((await sandbox.exec('cat /tmp/note')).stdout).toBe('kept\n');
  });

  test('a container that waited since before the replacement is given a disk', async () => {
    await ready();
    const made = await client.sandboxes.create({ diskMb: 64 });
    const { stdout } = await made.exec("df -m / | tail -n 1 | awk '{ print $2 }'");
    expect(Number(stdout)).toBeGreaterThan(40);
    expect(Number(stdout)).toBeLessThanOrEqual(64);
  });

  test('an agent that is told to leaves nothing on its node', async () => {
    await containers.stop('agent');
    await containers.startAgent('destroy');
    await until(
      async () => (await docker('logs', containers.name('agent'))).includes('agent_ready'),
      START_MS,
      'the last agent',
    );
    await containers.stop('agent');
    expect(containers.left()).toEqual([]);
  });
});

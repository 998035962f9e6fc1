import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { Bench, run as contained, type ContractSubject } from '../../../agent/runtime/contract/subject.ts';
import { openDockerRuntime } from '../../../agent/runtime/docker/open.ts';
import { runtimeContract } from '../../../agent/runtime/contract/suite.ts';
import { boxinitPath } from '../../../src/cli/up/parts.ts';
import { silent } from '../../../src/lib/logger.ts';
import { baseImage } from '../../helpers/images.ts';

const run = promisify(execFile);

const subject: ContractSubject = {
  name: 'docker',
  open: (dataDir) =>
    openDockerRuntime({
      dataDir,
      boxinitPath: boxinitPath(),
      dockerSocket: '/var/run/docker.sock',
      runtime: 'docker',
      log: silent,
    }),
  image: baseImage(),
  // Names that are wrong in themselves, and a registry on a port where none is: nothing leaves the machine.
  failing: [
    { ref: 'UPPER/case', code: 'image_invalid' },
    { ref: '127.0.0.1:1/image:tag', code: 'image_unreachable' },
  ],
  linux: true,
  kill: async (_runtime, id) => {
    await run('docker', ['kill', '--signal', 'KILL', id]);
  },
};

runtimeContract(subject);

test('an agent knows which images the containers of the one before it use', async () => {
  await using bench = await Bench.open(subject);
  const { container } = await bench.launch();
  const next = await subject.open(bench.dataDir);
  onTestFinished(() => next.close());
  const inUse = async (): Promise<boolean | undefined> =>
    (await next.images.list()).find(({ id }) => id === bench.image.id)?.inUse;
  expect(await inUse()).toBe(false);
  expect((await next.list()).map(({ id }) => id)).toEqual([container.id]);
  expect(await inUse()).toBe(true);
  await next.destroy(container.id);
  await next.list();
  expect(await inUse()).toBe(false);
});

test('a program sees its control groups as if they were all, however the engine is set up', async () => {
  await using bench = await Bench.open(subject);
  const { link } = await bench.claimed();
  const { stdout } = await contained(link, ['cat', '/proc/self/cgroup']);
  const groups = stdout.trim().split('\n');
  expect(groups.filter((line) => !line.endsWith(':/'))).toEqual([]);
});

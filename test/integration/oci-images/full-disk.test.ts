/** Images that do not fit on their disk: a small file system for the test. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { boxinitPath } from '../../../src/cli/up/parts.ts';
import { startStack, type TestStack } from '../../helpers/stack.ts';
import { OddRegistry } from './odd-registry.ts';
import { because, lacking } from './store.ts';
import type { Entry } from './tar.ts';

const run = promisify(execFile);
const MIB = 1024 * 1024;
const PULL_MS = 120_000;
/** What a node keeps free, and a little more. */
const DISK = 'size=600m,nr_inodes=4000';

const program = (): Entry => ({
  path: 'true',
  body: readFileSync(join(dirname(boxinitPath()), 'millibox-true')),
  mode: 0o755,
});

describe.skipIf(lacking !== '')(`a full disk${because}`, () => {
  let registry: OddRegistry;
  let stack: TestStack;
  let disk: string;
  const refOf = (name: string): string => `${registry.host}/${name}:1`;
  const kept = (directory: string): string[] => readdirSync(join(disk, 'images', directory));

  beforeAll(async () => {
    disk = mkdtempSync(join(tmpdir(), 'mbx-disk-'));
    await run('mount', ['-t', 'tmpfs', '-o', DISK, 'millibox-test', disk]);
    registry = await OddRegistry.start();
    registry.imageOf('small', [program(), { path: 'name', body: 'small' }]);
    registry.imageOf('next', [program(), { path: 'name', body: 'next' }]);
    // Zeros compress to almost nothing.
    registry.imageOf('large', [{ path: 'zeros', body: Buffer.alloc(100 * MIB) }]);
    registry.imageOf(
      'many',
      Array.from({ length: 5_000 }, (_, i) => ({ path: `file-${i}` })),
    );
    stack = await startStack({
      runtime: 'oci',
      pool: 1,
      image: refOf('small'),
      agentEnv: { MILLIBOX_IMAGES_DIR: join(disk, 'images') },
    });
  });
  afterAll(async () => {
    await stack?.stop();
    await registry?.[Symbol.asyncDispose]();
    await run('umount', [disk]);
    rmSync(disk, { recursive: true });
  });

  test.each([
    ['bytes', 'large'],
    ['files', 'many'],
  ])('an image of too many %s is refused with its own error; what is here goes on', async (_what, name) => {
    const sandbox = stack.client.sandboxes.create({ image: refOf('small') });
    await sandbox.ready();
    const before = kept('images');

    const [pulled] = await stack.operator.preload(refOf(name), PULL_MS);
    expect(pulled).toMatchObject({ ok: false, error: { code: 'capacity_exhausted' } });
    const refused = stack.client.sandboxes.create({ image: refOf(name) });
    await expect(refused.ready()).rejects.toThrow('no room');
    expect(await refused.refresh()).toMatchObject({ status: 'ERROR', reason: 'image_pull_failed' });
    expect(kept('tmp')).toEqual([]);
    expect(kept('images')).toEqual(before);

    expect((await sandbox.exec(['/true'])).exitCode).toBe(0);
    await sandbox.delete();
    const next = stack.client.sandboxes.create({ image: refOf('next') });
    expect((await next.exec(['/true'])).exitCode).toBe(0);
    await next.delete();
    await stack.operator.removeImage(refOf('next'), PULL_MS);
  });
});

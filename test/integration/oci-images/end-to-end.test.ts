/** `millibox image` from the command line down to the node-native runtime, and sandboxes of these images. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { boxinitPath } from '../../../src/cli/up/parts.ts';
import { cli, type CliResult } from '../../helpers/cli.ts';
import { startStack, type TestStack } from '../../helpers/stack.ts';
import { Registry } from './registry.ts';
import { because, lacking } from './store.ts';
import { tar, type Entry } from './tar.ts';

/** A static program that needs nothing else of the image. */
const program = (): Entry[] => [
  { path: 'true', body: readFileSync(join(dirname(boxinitPath()), 'millibox-true')), mode: 0o755 },
];

describe.skipIf(lacking !== '')(`images from the command line${because}`, () => {
  let registry: Registry;
  let stack: TestStack;
  let home: string;
  let ref: string;

  beforeAll(async () => {
    home = mkdtempSync(join(tmpdir(), 'mbx-e2e-images-'));
    registry = await Registry.start({ withPassword: true });
    await registry.push('app:1', { layers: [program()] });
    ref = `${registry.host}/app:1`;
    stack = await startStack({
      runtime: 'oci',
      pool: 1,
      agentEnv: { MILLIBOX_REGISTRY_AUTH_FILE: registry.authFile() },
    });
  });
  afterAll(async () => {
    await stack?.stop();
    await registry?.stop();
    rmSync(home, { recursive: true, force: true });
  });

  const image = (...args: string[]): Promise<CliResult> => cli(stack, ['image', ...args]);
  const refs = async (): Promise<string[]> => {
    const { stdout } = await image('ls', '--json');
    return (JSON.parse(stdout.toString()) as { image: string }[]).map((each) => each.image);
  };
  const listed = (name: string, there: boolean): Promise<void> =>
    expect.poll(async () => (await refs()).includes(name), { timeout: 60_000, interval: 250 }).toBe(there);

  test("pull gets it, with the node's credentials; a sandbox runs; rm waits for its end", async () => {
    const pulled = await image('pull', ref);
    expect(pulled.stdout.toString()).toBe(`${ref}  node-1  ready\n`);
    expect(pulled.code).toBe(0);
    await listed(ref, true);
    const sandbox = stack.client.sandboxes.create({ image: ref });
    expect((await sandbox.exec(['/true'])).exitCode).toBe(0);
    const refused = await image('rm', ref);
    expect(refused.code).toBe(1);
    expect(refused.stdout.toString()).toContain('invalid_request');
    await sandbox.delete();
    await expect.poll(async () => (await image('rm', ref)).code, { timeout: 60_000, interval: 250 }).toBe(0);
    await listed(ref, false);
  });

  test('pulling a moved tag gives it to later sandboxes; a running one keeps its image', async () => {
    const moving = `${registry.host}/moving:latest`;
    const push = (version: string): Promise<string> =>
      registry.push('moving:latest', { layers: [[...program(), { path: 'version', body: version }]] });
    await push('old');
    const earlier = stack.client.sandboxes.create({ image: moving });
    await earlier.ready();
    expect((await image('pull', moving)).stdout.toString()).toBe(`${moving}  node-1  up to date\n`);
    await push('new');
    expect((await image('pull', moving)).stdout.toString()).toBe(`${moving}  node-1  ready\n`);
    const later = stack.client.sandboxes.create({ image: moving });
    expect((await earlier.exec(['/true'])).exitCode).toBe(0);
    expect((await later.exec(['/true'])).exitCode).toBe(0);
    expect(await earlier.files.readText('/version')).toBe('old');
    expect(await later.files.readText('/version')).toBe('new');
    await Promise.all([earlier.delete(), later.delete()]);
  });

  test('import takes a file; a sandbox of it runs', async () => {
    const file = join(home, 'root.tar');
    writeFileSync(file, tar(program()));
    const imported = await image('import', file, 'own/root:1');
    expect(imported).toMatchObject({ code: 0, stderr: '' });
    expect(imported.stdout.toString()).toBe('own/root:1  node-1  ready\n');
    await listed('own/root:1', true);
    const sandbox = stack.client.sandboxes.create({ image: 'own/root:1' });
    expect((await sandbox.exec(['/true'])).exitCode).toBe(0);
    await sandbox.delete();
  });

  test('an image whose working directory cannot be created ends its sandbox at once, with the reason', async () => {
    const link: Entry = { path: 'loop', type: 'symlink', target: 'loop' };
    const config = { WorkingDir: '/loop/below' };
    await registry.push('odd/workdir:1', { layers: [[...program(), link]], config });
    const sandbox = stack.client.sandboxes.create({ image: `${registry.host}/odd/workdir:1` });
    await expect(sandbox.ready()).rejects.toThrow('working directory');
    expect(await sandbox.refresh()).toMatchObject({ status: 'ERROR', reason: 'image_pull_failed' });
  });

  test('a sandbox whose image cannot be had says by a code why, and so does each of its calls', async () => {
    const sandbox = stack.client.sandboxes.create({ image: `${registry.host}/nothing:1` });
    const end = { status: 'ERROR', reason: 'image_pull_failed', errorCode: 'image_not_found' };
    await expect(sandbox.exec('true')).rejects.toMatchObject({ code: 'sandbox_ended', details: end });
    expect(await sandbox.refresh()).toMatchObject(end);
    await expect(sandbox.exec('true')).rejects.toMatchObject({ code: 'sandbox_ended', details: end });
  });

  test('what cannot be had is said in one line, and the command fails', async () => {
    const missing = await image('pull', `${registry.host}/nothing:1`);
    expect(missing.code).toBe(1);
    expect(missing.stdout.toString()).toContain('image_not_found');
    const file = join(home, 'rubbish');
    writeFileSync(file, 'no archive');
    const broken = await image('import', file, 'own/broken:1');
    expect(broken.code).toBe(1);
    expect(broken.stdout.toString()).toContain('image_invalid');
    const absent = join(home, 'not-there');
    const noFile = await image('import', absent, 'own/none:1');
    expect(noFile.code).toBe(1);
    expect(noFile.stdout.toString()).toContain(`${absent} cannot be read: ENOENT`);
    const directory = await image('import', home, 'own/none:1');
    expect(directory.code).toBe(1);
    expect(directory.stdout.toString()).toContain(`${home} is a directory: a tar file is expected (invalid_request)`);
    const none = await image('rm', 'nobody/has:1');
    expect(none.code).not.toBe(0);
    expect(none.stderr).toContain('no node has this image');
  });

  test('of several images, one that is refused keeps no other from being pulled or removed', async () => {
    const ref = `${registry.host}/several:1`;
    await registry.push('several:1', { layers: [program()] });
    const pulled = await image('pull', 'No:Image', ref);
    expect(pulled.code).toBe(1);
    expect(pulled.stdout.toString()).toBe(`${ref}  node-1  ready\n`);
    expect(pulled.stderr).toMatch(/^millibox: No:Image: .*not an image reference \(invalid_request\)\n$/);
    const removed = await image('rm', 'nobody/has:1', ref);
    expect(removed.code).toBe(1);
    expect(removed.stdout.toString()).toBe(`${ref}  node-1  removed\n`);
    expect(removed.stderr).toBe('millibox: nobody/has:1: no node has this image (image_not_found)\n');
  });
});

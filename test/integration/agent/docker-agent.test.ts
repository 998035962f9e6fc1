/** The agent on a real engine, driven as by a gateway. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openDockerRuntime } from '../../../agent/runtime/docker/open.ts';
import type { DockerRuntime } from '../../../agent/runtime/docker/docker-runtime.ts';
import { codeOf } from '../../../agent/testing/code-of.ts';
import { Harness, newSpec, until } from '../../../agent/testing/harness.ts';
import { boxinitPath } from '../../../src/cli/up/parts.ts';
import { silent } from '../../../src/lib/logger.ts';
import { bareImageInDocker, baseImage } from '../../helpers/images.ts';

const run = promisify(execFile);

const openDocker = (dataDir: string): Promise<DockerRuntime> =>
  openDockerRuntime({
    dataDir,
    boxinitPath: boxinitPath(),
    dockerSocket: '/var/run/docker.sock',
    runtime: 'docker',
    log: silent,
  });

let h: Harness<DockerRuntime>;

beforeAll(async () => {
  h = await Harness.start(openDocker, { MILLIBOX_DEFAULT_IMAGE: baseImage() });
});
afterAll(async () => {
  await h[Symbol.asyncDispose]();
});

const image = (): string => h.config.defaultImage;

test('create, exec, delete; the container is gone and the pool is full again', async () => {
  await h.warm(2);
  const { id, timings } = await h.sandbox();
  expect(timings.warm).toBe(true);
  const container = h.containerOf(id);
  const outcome = await h.client.exec(id, { command: 'cat; echo err >&2; exit 3' }, { stdin: 'in' });
  expect([outcome.stdout.toString(), outcome.stderr.toString(), outcome.exit.exitCode]).toEqual(['in', 'err\n', 3]);
  expect((await h.client.delete(id)).status).toBe('TERMINATED');
  await until('it is gone', async () => !(await h.runtime.list()).some((each) => each.id === container));
  await h.warm(2);
});

test('more concurrent creates than warm containers: all run, and no two share one', async () => {
  const specs = Array.from({ length: 12 }, () => newSpec({ image: image() }));
  await Promise.all(specs.map((spec) => h.client.create(spec)));
  const names = await Promise.all(
    specs.map(async ({ id }) => {
      await h.client.exec(id, { command: `test ! -e /mine && echo ${id} >/mine` });
      return (await h.client.exec(id, { argv: ['cat', '/mine'] })).stdout.toString().trim();
    }),
  );
  expect(names).toEqual(specs.map(({ id }) => id));
  expect(new Set(specs.map(({ id }) => h.containerOf(id))).size).toBe(12);
  await Promise.all(specs.map(({ id }) => h.client.delete(id)));
});

test('warm containers that are killed are never handed out', async () => {
  await h.warm(2);
  const before = (await h.runtime.list()).map(({ id }) => id);
  // Those of deleted sandboxes may be going away already.
  await Promise.allSettled(before.map((id) => run('docker', ['kill', '--signal', 'KILL', id])));
  const { id } = await h.sandbox();
  expect((await h.client.exec(id, { argv: ['true'] })).exit.exitCode).toBe(0);
  expect(before).not.toContain(h.containerOf(id));
  await h.client.delete(id);
});

test('a container killed from outside ends its sandbox and its running exec', async () => {
  const { id } = await h.sandbox();
  const running = h.client.start({ op: 'exec', sandbox: id, argv: ['sleep', '600'] });
  await running.opened;
  await run('docker', ['kill', '--signal', 'KILL', h.containerOf(id)]);
  expect(await codeOf(running.outcome)).toBe('sandbox_ended');
  expect(h.record(id)).toMatchObject({ status: 'ERROR', reason: 'internal' });
  expect(await codeOf(h.client.exec(id, { argv: ['true'] }))).toBe('sandbox_ended');
});

test('an OOM kill ends the program, is reported, and leaves the sandbox running', async () => {
  const { id } = await h.sandbox();
  const { exit } = await h.client.exec(id, { command: 'tail -n 1 /dev/zero >/dev/null' });
  expect(exit).toMatchObject({ exitCode: 137, oomKilled: true });
  expect((await h.client.exec(id, { argv: ['true'] })).exit.exitCode).toBe(0);
  await h.client.delete(id);
});

test('a hundred megabytes arrive byte for byte, and a killed `yes` stops', async () => {
  const { id } = await h.sandbox();
  const bytes = 100 * 1024 * 1024;
  const outcome = await h.client.exec(id, { command: `yes | head -c ${bytes}` });
  expect(outcome.stdout.length).toBe(bytes);
  expect(outcome.stdout.equals(Buffer.alloc(bytes, 'y\n'))).toBe(true);
  const endless = h.client.start({ op: 'exec', sandbox: id, command: 'yes' });
  await endless.opened;
  endless.stream.urgent({ type: 'kill' });
  expect((await endless.outcome).exit.exitCode).toBeGreaterThan(128);
  await h.client.delete(id);
});

test('a restarted agent finds its sandboxes, and their programs have continued', async () => {
  const { id } = await h.sandbox({ env: { KEPT: 'yes' } });
  const command = 'echo a; while [ ! -e /go ]; do sleep 0.1; done; echo b; exit 6';
  const running = h.client.start({ op: 'exec', sandbox: id, id: 'exe-over', command });
  await running.opened;
  await h.restart();
  await h.client.exec(id, { command: 'echo >/go' });
  const rest = await h.client.start({ op: 'attach', sandbox: id, id: 'exe-over' }).outcome;
  expect([rest.stdout.toString(), rest.exit.exitCode]).toEqual(['a\nb\n', 6]);
  expect((await h.client.exec(id, { command: 'echo $KEPT' })).stdout.toString()).toBe('yes\n');
  await h.client.delete(id);
});

test('an image with one static program and nothing else works', async () => {
  const bare = await bareImageInDocker();
  try {
    const { id } = await h.sandbox({ image: bare.ref });
    expect((await h.client.exec(id, { argv: ['/true'] })).exit.exitCode).toBe(0);
    expect(await codeOf(h.client.exec(id, { command: 'true' }))).toBe('exec_program_not_found');
    const container = h.containerOf(id);
    await h.client.delete(id);
    await until('it is gone', async () => !(await h.runtime.list()).some((each) => each.id === container));
  } finally {
    await bare.dispose();
  }
});

test("limits other than the pool's apply to the sandbox", async () => {
  const { id } = await h.sandbox({ memoryMb: 96, pidsLimit: 77 });
  const { stdout } = await run('docker', ['inspect', '-f', '{{json .HostConfig}}', h.containerOf(id)]);
  const config = JSON.parse(stdout) as { Memory: number; MemorySwap: number; PidsLimit: number };
  expect(config).toMatchObject({ Memory: 96 * 1024 * 1024, MemorySwap: 96 * 1024 * 1024, PidsLimit: 77 });
  await h.client.delete(id);
});

test('a sandbox on the internet sees neither the host nor its neighbours', async () => {
  const [a, b] = await Promise.all([h.sandbox({ network: 'internet' }), h.sandbox({ network: 'internet' })]);
  const address = async (id: string): Promise<string> => {
    const format = '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.Gateway}}{{end}}';
    const { stdout } = await run('docker', ['inspect', '-f', format, h.containerOf(id)]);
    return stdout.trim();
  };
  const [, gateway = ''] = (await address(a.id)).split(' ');
  const [neighbour = ''] = (await address(b.id)).split(' ');
  // A port that is open on every address of the host.
  const server = createServer().listen(0, '0.0.0.0');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const reach = async (host: string, to: number): Promise<number> => {
    const script = `timeout 2 bash -c '</dev/tcp/${host}/${to}'`;
    return (await h.client.exec(a.id, { command: script })).exit.exitCode;
  };
  try {
    const codes = await Promise.all([reach(gateway, port), reach(neighbour, 1)]);
    // Not refused, which would be an answer: dropped.
    expect(codes).toEqual([124, 124]);
    // The cloud metadata service is among the dropped addresses.
    const rules = await run('nft', ['list', 'ruleset']);
    expect(rules.stdout).toContain('169.254.0.0/16');
    const { stdout } = await h.client.exec(a.id, { argv: ['cat', '/proc/net/route'] });
    expect(stdout.toString()).toMatch(/\t00000000\t/);
  } finally {
    server.close();
    await Promise.all([h.client.delete(a.id), h.client.delete(b.id)]);
  }
});

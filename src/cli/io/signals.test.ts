/** Ctrl-C while nothing runs yet: the wait ends, and with it the program. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';

vi.setConfig({ testTimeout: 120_000 });
const MAIN = join(import.meta.dirname, '../main.ts');

const open: (() => unknown)[] = [];
afterEach(() => open.splice(0).forEach((close) => close()));

/** Accepts a connection, and never answers. */
async function silence(): Promise<{ url: string; heard: Promise<unknown> }> {
  const sockets: Socket[] = [];
  const heard = Promise.withResolvers<unknown>();
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('data', heard.resolve);
    socket.on('error', () => undefined);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  open.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, heard: heard.promise };
}

test.each([
  ['SIGINT', 130, []],
  ['SIGTERM', 143, []],
  ['SIGINT', 130, ['--json']],
] as const)('%s ends an exec that is still on its way to the service, with %i %j', async (signal, code, options) => {
  const { url, heard } = await silence();
  const child = spawn(process.execPath, [MAIN, '--url', url, 'exec', ...options, 'sbx-0123', '--', 'true'], {
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  const ended = once(child, 'exit');
  open.push(() => child.kill('SIGKILL'));
  await heard;
  child.kill(signal);
  expect(await ended).toEqual([code, null]);
});

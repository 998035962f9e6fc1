import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { acceptWs, createMux, dialWs } from '../src/mux/index.ts';
import { bindSocketFile, closeServer } from './listen.ts';

let directory = '';
let server: Server;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'millibox-listen-'));
  server = createServer();
});
afterEach(async () => {
  await closeServer(server);
  rmSync(directory, { recursive: true });
});

test('a socket left by a killed agent is replaced, and no other user may connect to it', async () => {
  const path = join(directory, 'node.sock');
  writeFileSync(path, 'left over');
  await bindSocketFile(server, path);
  expect(statSync(path).isSocket()).toBe(true);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  await closeServer(server);
  expect(existsSync(path)).toBe(false);
});

test('a path too long for a socket is refused up front', async () => {
  const path = join(directory, 'x'.repeat(120));
  await expect(bindSocketFile(server, path)).rejects.toMatchObject({ code: 'invalid_request' });
});

test('a link works over a unix socket as it does over TCP', async () => {
  const path = join(directory, 'node.sock');
  const urls: (string | undefined)[] = [];
  server.on('upgrade', (request, socket, head) => {
    urls.push(request.url);
    createMux({
      transport: acceptWs(request, socket, head, 'test'),
      role: 'listener',
      hello: {},
      onHello: () => undefined,
      onOpen: (stream) => {
        stream.accept({ you: 'said', what: stream.request });
        return {};
      },
    });
  });
  await bindSocketFile(server, path);
  const mux = createMux({
    transport: await dialWs(`ws+unix://${path}:/some/path`, { subprotocol: 'test', deadlineMs: 20_000 }),
    role: 'dialler',
    hello: {},
    onHello: () => undefined,
  });
  const answer = Promise.withResolvers<unknown>();
  mux.open({ op: 'x' }, { opened: answer.resolve, closed: answer.reject });
  expect(await answer.promise).toMatchObject({ what: { op: 'x' } });
  expect(urls).toEqual(['/some/path']);
  mux.close();
});

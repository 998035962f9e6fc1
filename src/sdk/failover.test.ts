/** Several gateways of one service: the client continues at another when one goes away. */
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { createMux, memoryPair } from '../mux/index.ts';
import { ServiceError } from '../protocol/errors.ts';
import { Millibox } from './client.ts';
import { loadConfig } from './config.ts';
import { Connection } from './connection.ts';
import { Endpoints } from './endpoints.ts';
import { ExecHandle } from './exec/handle.ts';
import { FakeGateway } from './testing/fake-gateway.ts';
import { HttpClient } from './http.ts';

vi.setConfig({ testTimeout: 120_000 });

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const it of open.splice(0).reverse()) await it.close();
});

const first = (urls: readonly string[]): Endpoints => new Endpoints(urls, { random: () => 0 });

/** Gives the same answer to all requests. */
async function server(status: number, body: object): Promise<{ url: string; requests: string[] }> {
  const requests: string[] = [];
  const it = http.createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    request.resume();
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });
  it.listen(0, '127.0.0.1');
  await once(it, 'listening');
  open.push({
    close: () => {
      it.closeAllConnections();
      it.close();
    },
  });
  return { url: `http://127.0.0.1:${(it.address() as AddressInfo).port}`, requests };
}

test('several addresses come from one variable, one option or a list', () => {
  expect(loadConfig({ url: 'http://a:1/, http://b:2/x/' }).urls).toEqual(['http://a:1', 'http://b:2/x']);
  expect(loadConfig({ urls: ['http://a:1', 'http://a:1/'] }).urls).toEqual(['http://a:1']);
  expect(() => loadConfig({ urls: [] })).toThrow(TypeError);
  expect(() => loadConfig({ url: 'http://a:1,ftp://b' })).toThrow(TypeError);
});

test('a call goes to another gateway at once when one is not there or is draining', async () => {
  const draining = await server(503, {
    error: new ServiceError('draining', undefined, { retryAfterMs: 60_000 }).toWire(),
  });
  const good = await server(200, { ok: true });
  const endpoints = first(['http://127.0.0.1:1', draining.url, good.url]);
  const client = new HttpClient({ endpoints, apiKey: undefined, userAgent: 'test' });
  open.push(client);
  // Not idempotent: nothing was done at the first two, so it may be sent again.
  expect(await client.json({ method: 'POST', path: '/x', body: {} })).toEqual({ ok: true });
  expect(draining.requests).toEqual(['POST /x']);
  expect(await client.json({ method: 'POST', path: '/y', body: {} })).toEqual({ ok: true });
  expect(draining.requests).toEqual(['POST /x']);
  expect(good.requests).toEqual(['POST /x', 'POST /y']);
});

test('an answer of the service is not requested again from another gateway', async () => {
  const bad = await server(404, { error: new ServiceError('sandbox_not_found').toWire() });
  const other = await server(200, {});
  const client = new HttpClient({ endpoints: first([bad.url, other.url]), apiKey: undefined, userAgent: 'test' });
  open.push(client);
  await expect(client.json({ method: 'GET', path: '/x' })).rejects.toMatchObject({ code: 'sandbox_not_found' });
  expect(other.requests).toEqual([]);
});

test('a client created with a list can be closed', async () => {
  const client = new Millibox({ urls: ['http://127.0.0.1:1', 'http://127.0.0.1:2'], patienceMs: 1 });
  expect(['http://127.0.0.1:1', 'http://127.0.0.1:2']).toContain(client.url);
  await expect(client.sandboxes.get('x', { deadlineMs: 20_000 })).rejects.toMatchObject({ code: 'node_unavailable' });
  await client.close();
});

test('a command continues over another gateway, byte for byte, when the one it was started at is lost', async () => {
  const go = Promise.withResolvers<void>();
  const gateway = new FakeGateway(async (p) => {
    await p.write('stdout', 'one ');
    await go.promise;
    await p.write('stdout', 'two');
    p.exit(3);
  });
  const dialled: string[] = [];
  const down = new Set<string>();
  const connection = new Connection({
    dial: (signal, url) => {
      dialled.push(url);
      return down.has(url) ? Promise.reject(new Error('connection refused')) : gateway.dial(signal, url);
    },
    endpoints: first(['a', 'b', 'c']),
    patienceMs: 60_000,
  });
  open.push(connection);
  const client = new HttpClient({ endpoints: first(['http://127.0.0.1:1']), apiKey: undefined, userAgent: 'test' });
  open.push(client);
  const streamed = Promise.withResolvers<void>();
  const deps = { http: client, connection, sandbox: 's', resumeMs: 60_000 };
  const exec = new ExecHandle(deps, 'x', { onStdout: () => streamed.resolve() });
  await streamed.promise;
  down.add('a').add('b');
  gateway.links.at(-1)?.cut();
  await vi.waitFor(() => expect(dialled.at(-1)).toBe('c'), { timeout: 60_000 });
  go.resolve();
  expect(await exec).toMatchObject({ exitCode: 3, stdout: 'one two' });
  expect(gateway.starts).toBe(1);
  expect(dialled).toEqual(['a', 'b', 'c']);
});

test('a gateway that cannot reach a node is left for one that can; streams running over it continue', async () => {
  const finish = Promise.withResolvers<void>();
  const gateway = new FakeGateway(async (p) => {
    if (p.request['command'] === 'long') await finish.promise;
    p.exit(4);
  });
  let reaches = true;
  let refused = 0;
  const dialled: string[] = [];
  const connection = new Connection({
    dial: (signal, url) => {
      dialled.push(url);
      if (url === 'b') return gateway.dial(signal, url);
      const { a, b } = memoryPair();
      const hello = { hello: { generation: 1 }, onHello: () => undefined, pingIntervalMs: 0 };
      createMux({
        ...hello,
        transport: b,
        role: 'listener',
        onOpen: (stream) => {
          if (!reaches) {
            refused += 1;
            throw new ServiceError('node_unavailable');
          }
          return gateway.serve(stream);
        },
      });
      return Promise.resolve(a);
    },
    endpoints: first(['a', 'b']),
    patienceMs: 60_000,
  });
  open.push(connection);
  const client = new HttpClient({ endpoints: first(['http://127.0.0.1:1']), apiKey: undefined, userAgent: 'test' });
  open.push(client);
  const deps = { http: client, connection, sandbox: 's', resumeMs: 60_000 };
  const long = new ExecHandle(deps, 'long');
  await long.started;
  reaches = false;
  for (let i = 0; i < 3; i++) expect((await new ExecHandle(deps, 'short')).exitCode).toBe(4);
  expect(refused).toBe(1);
  finish.resolve();
  expect((await long).exitCode).toBe(4);
  expect(dialled).toEqual(['a', 'b']);
});

/** A service that cannot be reached: who gets the error soon, and who waits for it. */
import { once } from 'node:events';
import http from 'node:http';
import { afterEach, expect, test, vi } from 'vitest';
import { freePort } from '../../test/helpers/ports.ts';
import type { Transport } from '../mux/index.ts';
import { Connection } from './connection.ts';
import { Endpoints } from './endpoints.ts';
import { HttpClient } from './http.ts';
import { Outage, patienceOf } from './outage.ts';
import { Millibox } from './client.ts';

vi.setConfig({ testTimeout: 120_000 });

const HERE = 'http://127.0.0.1:1';
const ELSEWHERE = 'http://balancer.example:80';
const refused = Object.assign(new Error('connect'), { code: 'ECONNREFUSED' });
const unknownHost = Object.assign(new Error('getaddrinfo'), { code: 'ENOTFOUND' });
const timedOut = Object.assign(new Error('connect'), { code: 'ETIMEDOUT' });

const open: { close(): unknown }[] = [];
afterEach(async () => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  for (const it of open.splice(0).reverse()) await it.close();
});

/** How long a failure of this kind is retried, in seconds. */
function endured(
  failures: readonly [unknown, string][],
  { answered = false, given = undefined as number | undefined } = {},
): number {
  vi.useFakeTimers();
  const endpoints = new Endpoints([...new Set(failures.map(([, url]) => url))]);
  endpoints.answered = answered;
  const outage = new Outage(patienceOf(given), endpoints);
  for (let seconds = 0; ; seconds++) {
    if (!failures.map(([error, url]) => outage.outlasts(0, error, url)).at(-1)) return seconds;
    vi.advanceTimersByTime(1_000);
  }
}

test('a service that never answered is given up soon when nothing listens there or the host is unknown', () => {
  expect(endured([[refused, HERE]])).toBe(3);
  expect(endured([[refused, 'http://localhost:1']])).toBe(3);
  expect(endured([[unknownHost, ELSEWHERE]])).toBe(3);
});

test('an outage is waited out if the service has answered before, or is behind a proxy', () => {
  expect(endured([[refused, HERE]], { answered: true })).toBe(31);
  expect(endured([[refused, ELSEWHERE]])).toBe(31);
  expect(endured([[timedOut, HERE]])).toBe(31);
  expect(
    endured([
      [timedOut, ELSEWHERE],
      [refused, HERE],
    ]),
  ).toBe(31);
});

test('the patience chosen by a caller also applies to the first contact', () => {
  expect(endured([[refused, HERE]], { given: 9_000 })).toBe(10);
});

test('the error of a first command or call names the address and says what to check', async () => {
  const client = new Millibox({ url: HERE, apiKey: 'k', patienceMs: 1 });
  open.push(client);
  const said = {
    code: 'node_unavailable',
    message: expect.stringMatching(/^nothing listens at http:\/\/127\.0\.0\.1:1: .*MILLIBOX_URL/) as string,
  };
  await expect(client.sandboxes.at('s').exec('true').result).rejects.toMatchObject(said);
  await expect(client.sandboxes.get('s')).rejects.toMatchObject(said);
});

type Handler = (request: http.IncomingMessage, response: http.ServerResponse, n: number) => void;

/** A service that comes and goes, and its client. */
async function service(handle: Handler, { patienceMs = undefined as number | undefined } = {}) {
  // Makes the pauses as short as possible.
  vi.spyOn(Math, 'random').mockReturnValue(0);
  const requests: string[] = [];
  const server = http.createServer((request, response) => {
    const n = requests.push(`${request.method} ${request.url}`);
    handle(request, response, n);
  });
  const port = await freePort();
  const start = async (): Promise<void> => {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
  };
  const stop = async (): Promise<void> => {
    const closed = once(server, 'close');
    server.close();
    await closed;
  };
  await start();
  open.push({ close: () => server.close() });
  const endpoints = new Endpoints([`http://127.0.0.1:${port}`]);
  const client = new HttpClient({ endpoints, apiKey: undefined, userAgent: 'test', patienceMs });
  open.push(client);
  /** Resolves once this many more attempts have failed. */
  const failures = (count: number): Promise<void> => {
    const enough = Promise.withResolvers<void>();
    let tries = 0;
    vi.spyOn(endpoints, 'failed').mockImplementation(() => {
      if (++tries >= count) enough.resolve();
      return false;
    });
    return enough.promise;
  };
  return { client, requests, start, stop, failures };
}

/** The connection is not reused: the next request shows whether the service is there. */
function answer(response: http.ServerResponse, status = 200, body: object = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' }).end(JSON.stringify(body));
}

test('a call is patient with a service that has answered, and is sent when it is back', async () => {
  const { client, requests, start, stop, failures } = await service((_request, response) => answer(response));
  await client.json({ method: 'GET', path: '/one' });
  await stop();
  // More attempts than a call has when there is no outage.
  const enough = failures(9);
  const call = client.json({ method: 'POST', path: '/two', body: {} });
  await Promise.race([enough, call]);
  await start();
  await call;
  expect(requests).toEqual(['GET /one', 'POST /two']);
});

test('patience starts when the service is lost, however long the call has been running', async () => {
  const now = performance.now.bind(performance);
  let later = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => now() + later);
  let stopped: Promise<void> | undefined;
  const { client, requests, start, stop, failures } = await service((request, response, n) => {
    if (n > 1) return answer(response);
    later = 60_000;
    stopped = stop();
    request.socket.destroy();
  });
  // The failure of the broken connection, and one of the outage.
  const lost = failures(2);
  const call = client.json({ method: 'GET', path: '/long' });
  await Promise.race([lost, call]);
  await stopped;
  await start();
  await call;
  expect(requests).toEqual(['GET /long', 'GET /long']);
});

test('an outage uses up none of the attempts for a service that is back but not ready yet', async () => {
  const error = { code: 'node_unavailable', message: 'only just started', retryAfterMs: 1 };
  const { client, requests, start, stop, failures } = await service((_request, response, n) =>
    n === 2 ? answer(response, 503, { error }) : answer(response),
  );
  await client.json({ method: 'GET', path: '/one' });
  await stop();
  const enough = failures(9);
  const call = client.json({ method: 'GET', path: '/two' });
  await Promise.race([enough, call]);
  await start();
  await call;
  expect(requests).toEqual(['GET /one', 'GET /two', 'GET /two']);
});

test('a link that was up once is redialled for as long as an outage may last', async () => {
  vi.spyOn(Math, 'random').mockReturnValue(0);
  let dials = 0;
  const enough = Promise.withResolvers<void>();
  const connection = new Connection({
    dial: (): Promise<Transport> => {
      // Longer than a first contact is allowed.
      if (++dials > 8) enough.resolve();
      return Promise.reject(refused);
    },
    endpoints: Object.assign(new Endpoints([HERE]), { answered: true }),
  });
  const opening = connection.open({ request: () => ({}), handler: { data: () => undefined }, begun: () => undefined });
  opening.catch(() => undefined);
  await Promise.race([enough.promise, opening]);
  connection.close();
  await expect(opening).rejects.toMatchObject({ code: 'cancelled' });
});

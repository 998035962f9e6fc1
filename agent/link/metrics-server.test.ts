import { afterEach, expect, test } from 'vitest';
import { pino } from 'pino';
import { serveMetrics, type MetricsServer } from './metrics-server.ts';

const log = pino({ level: 'silent' });
let server: MetricsServer;
afterEach(() => server.close());

async function start(text: () => Promise<string>): Promise<string> {
  server = await serveMetrics({ host: '127.0.0.1', port: 0 }, text, log);
  return `http://127.0.0.1:${server.port}`;
}

test('it serves /metrics and nothing else', async () => {
  const url = await start(() => Promise.resolve('millibox_agent_sandboxes 3\n'));
  const answer = await fetch(`${url}/metrics?from=prometheus`);
  expect(answer.headers.get('content-type')).toContain('text/plain');
  expect(await answer.text()).toBe('millibox_agent_sandboxes 3\n');
  expect((await fetch(`${url}/metrics`, { method: 'POST', body: 'x' })).status).toBe(404);
  for (const path of ['/', '/healthz', '/v1/node', '//metrics']) {
    expect((await fetch(`${url}${path}`)).status).toBe(404);
  }
});

test('a failure to collect metrics costs one answer, not the server', async () => {
  let broken = true;
  const url = await start(() => (broken ? Promise.reject(new Error('no')) : Promise.resolve('fine')));
  await expect(fetch(`${url}/metrics`)).rejects.toThrow();
  broken = false;
  expect(await (await fetch(`${url}/metrics`)).text()).toBe('fine');
});

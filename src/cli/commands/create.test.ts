import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { sandboxInfo as sandbox } from '../../sdk/testing/sandbox-info.ts';
import { cli, fakeService, startCli } from '../testing/fake-service.ts';

test('a create that is ended by a signal leaves no sandbox behind', async () => {
  const waits = Promise.withResolvers<void>();
  const service = await fakeService(({ method, url }) => {
    if (method === 'POST') return { body: { sandboxes: [sandbox('sbx-0001'), sandbox('sbx-0002')] } };
    if (method === 'DELETE') return { body: sandbox(url.slice(-8), { status: 'TERMINATED', reason: 'deleted' }) };
    waits.resolve();
    return new Promise(() => undefined);
  });
  const child = startCli(service, ['create', '--count', '2']);
  await Promise.race([waits.promise, once(child, 'exit')]);
  child.kill('SIGINT');
  expect(await child.ended).toEqual({ code: 130, stdout: '', stderr: '' });
  const deleted = service.requests.filter(({ method }) => method === 'DELETE').map(({ url }) => url);
  expect(deleted.toSorted()).toEqual(['/v1/sandboxes/sbx-0001', '/v1/sandboxes/sbx-0002']);
});

test('a create without an answer is undone when a signal ends it', async () => {
  const asked = Promise.withResolvers<void>();
  let posts = 0;
  const service = await fakeService(({ method, url }) => {
    if (method === 'DELETE') return { body: sandbox(url.slice(-8), { status: 'TERMINATED', reason: 'deleted' }) };
    asked.resolve();
    return ++posts === 1 ? new Promise(() => undefined) : { body: sandbox('sbx-0001') };
  });
  const child = startCli(service, ['create']);
  await Promise.race([asked.promise, once(child, 'exit')]);
  child.kill('SIGINT');
  expect(await child.ended).toEqual({ code: 130, stdout: '', stderr: '' });
  expect(service.requests.map(({ method }) => method)).toEqual(['POST', 'POST', 'DELETE']);
});

test('a signal does not keep a create that failed without an answer from being undone', async () => {
  const undoing = Promise.withResolvers<void>();
  const interrupted = Promise.withResolvers<void>();
  const service = await fakeService(async ({ method, url }) => {
    if (method === 'DELETE') return { body: sandbox(url.slice(-8), { status: 'TERMINATED', reason: 'deleted' }) };
    if (service.requests.length === 1) return { status: 504, body: { error: { code: 'deadline_exceeded' } } };
    undoing.resolve();
    await interrupted.promise;
    return { body: sandbox('sbx-0001') };
  });
  const child = startCli(service, ['create']);
  await Promise.race([undoing.promise, once(child, 'exit')]);
  child.kill('SIGINT');
  await sleep(200);
  interrupted.resolve();
  expect(await child.ended).toMatchObject({ code: 255, stdout: '' });
  expect(service.requests.map(({ method }) => method)).toEqual(['POST', 'POST', 'DELETE']);
});

test('a create that may have made what could not be undone says so', async () => {
  const service = await fakeService(() =>
    service.requests.length === 1
      ? { status: 504, body: { error: { code: 'deadline_exceeded', message: 'too late' } } }
      : new Promise(() => undefined),
  );
  const { code, stderr } = await cli(service, ['create']);
  expect(code).toBe(255);
  expect(stderr).toMatch(/too late/);
  expect(stderr).toMatch(/may be left, until its lifetime ends: \(no id yet\)/);
});

test('when one of several creates fails, no id is printed and the others are deleted', async () => {
  const failed = { status: 'ERROR', reason: 'start_failed', message: 'no luck', endedAt: '2026-01-01T00:00:01.000Z' };
  const service = await fakeService(({ method, url }) => {
    if (method === 'POST') return { body: { sandboxes: [sandbox('sbx-0001'), sandbox('sbx-0002')] } };
    if (method === 'DELETE') return { body: sandbox(url.slice(-8), { status: 'TERMINATED', reason: 'deleted' }) };
    return { body: sandbox(url.slice(14, 22), url.includes('0002') ? failed : { status: 'RUNNING' }) };
  });
  const { code, stdout, stderr } = await cli(service, ['create', '--count', '2']);
  expect({ code, stdout }).toEqual({ code: 255, stdout: '' });
  expect(stderr).toMatch(/no luck/);
  expect(service.requests.filter(({ method }) => method === 'DELETE').length).toBe(2);
});

test('a sandbox that cannot be deleted again is reported', async () => {
  const service = await fakeService(({ method }) => {
    if (method === 'POST') return { body: sandbox('sbx-0001') };
    return { status: 403, body: { error: { code: 'forbidden', message: 'no' } } };
  });
  const { code, stderr } = await cli(service, ['create']);
  expect(code).toBe(255);
  expect(stderr).toMatch(/may be left.*: sbx-0001\nmillibox: no \(forbidden\)/);
});

test('the count is within what one call can create', async () => {
  const service = await fakeService(() => ({ body: {} }));
  for (const count of ['0', '1001', 'x']) {
    const { code, stderr } = await cli(service, ['create', '--count', count]);
    expect(code).toBe(1);
    expect(stderr).toContain('a whole number from 1 to 1000');
  }
  expect(service.requests).toEqual([]);
});

test('a create that has to wait for room says so', async () => {
  const service = await fakeService(({ method }) => ({
    body: method === 'POST' ? sandbox('sbx-0001', { queuePosition: 3 }) : sandbox('sbx-0001', { status: 'RUNNING' }),
  }));
  expect(await cli(service, ['create'])).toMatchObject({
    code: 0,
    stdout: 'sbx-0001\n',
    stderr: 'millibox: waiting for room on a node, 3 ahead in the queue\n',
  });
});

/** Creates and deletes go over the client's WebSocket where they can, and otherwise over HTTP; nobody can tell. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, it, onTestFinished, vi } from 'vitest';
import { memoryPair, type Json, type MuxStream, type StreamHandler } from '../mux/index.ts';
import { ServiceError } from '../protocol/errors.ts';
import { Connection, type Dial } from './connection.ts';
import { Endpoints } from './endpoints.ts';
import { FakeGateway } from './testing/fake-gateway.ts';
import { info, service } from './testing/http-service.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

const refuse = (): never => {
  throw new Error('connection refused');
};

type Answer = (request: Json, stream: MuxStream) => object | undefined;

/** A client of a gateway that answers streams, and other requests over HTTP. */
async function both(answer: Answer, { old = false } = {}) {
  const gateway = new FakeGateway((process) => process.exit(0));
  if (!old) gateway.hello = { generation: 1, calls: true };
  const asked: Json[] = [];
  gateway.onOther = (stream): StreamHandler => {
    asked.push(stream.request);
    const made = answer(stream.request, stream);
    if (made !== undefined) {
      stream.accept(made as Json);
      stream.end();
    }
    return {};
  };
  const http = await service(({ method }) => ({ status: method === 'POST' ? 201 : 200, body: info('sbx-http') }), {
    dial: gateway.dial,
  });
  return { ...http, gateway, asked };
}

it('a create and a delete are one stream each', async () => {
  const { client, requests, asked } = await both(({ op }) => info('sbx-1', op === 'delete' ? 'TERMINATED' : 'RUNNING'));
  const made = await client.sandboxes.create({ image: 'a', labels: { run: '7' } });
  expect(made.id).toBe('sbx-1');
  expect((await made.delete()).status).toBe('TERMINATED');
  await client.sandboxes.delete('sbx-2');
  expect(asked).toEqual([
    { op: 'create', key: expect.any(String) as string, image: 'a', labels: { run: '7' } },
    { op: 'delete', sandbox: 'sbx-1' },
    { op: 'delete', sandbox: 'sbx-2' },
  ]);
  expect(requests).toEqual([]);
});

it.each<[string, (all: Awaited<ReturnType<typeof both>>) => Promise<unknown>, boolean]>([
  ['a gateway that does not know these streams', ({ client }) => client.sandboxes.create().created(), true],
  [
    'a gateway that is going away',
    async ({ client, gateway }) => {
      await client.sandboxes.at('sbx-0').exec('true');
      gateway.goaway();
      await nextTurn();
      gateway.onDial = refuse;
      return await client.sandboxes.create().created();
    },
    false,
  ],
  ['a batch', ({ client }) => Promise.all(client.sandboxes.createMany(1)).catch(() => undefined), false],
  [
    'a spec that is larger than a frame',
    ({ client }) => {
      const env = Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`E${i}`, 'x'.repeat(128 * 1024)]));
      return client.sandboxes.create({ env }).created();
    },
    false,
  ],
])('%s gets it over HTTP', async (_what, create, old) => {
  const all = await both(() => info('sbx-1'), { old });
  await create(all);
  expect(all.requests.map(({ method }) => method)).toEqual(['POST']);
  expect(all.asked).toEqual([]);
});

it('the first burst of a client dials once', async () => {
  const { client, requests, asked, gateway } = await both((_request) => info(`sbx-${asked.length}`));
  const made = await Promise.all(Array.from({ length: 100 }, () => client.sandboxes.create()));
  expect(new Set(made.map(({ id }) => id)).size).toBe(100);
  expect([gateway.dials, asked.length, requests.length]).toEqual([1, 100, 0]);
});

it('a burst that is too large for one link goes over HTTP in part, and breaks no link', async () => {
  const { client, requests, asked, gateway } = await both(() => info('sbx-1'));
  const startCommand = 'x'.repeat(128 * 1024);
  await Promise.all(Array.from({ length: 600 }, () => client.sandboxes.create({ startCommand })));
  expect(gateway.dials).toBe(1);
  // Until 4 MiB wait for the link.
  expect(asked.length).toBeGreaterThan(30);
  expect(requests.length).toBeGreaterThan(50);
  expect(asked.length + requests.length).toBe(600);
});

it('a gateway that accepts a link and says nothing is waited for once', async () => {
  const { client, requests } = await service(() => ({ status: 201, body: info('sbx-1') }), {
    dial: () => {
      const { a, b } = memoryPair();
      b.start(
        () => undefined,
        () => undefined,
      );
      return Promise.resolve(a);
    },
  });
  await client.sandboxes.create();
  const began = performance.now();
  await client.sandboxes.create();
  expect(performance.now() - began).toBeLessThan(2_000);
  expect(requests).toHaveLength(2);
});

it('a dial that is not answered is given up with the wait for it, unless a command waits too', async () => {
  const dials: AbortSignal[] = [];
  const { client } = await service(() => ({ status: 201, body: info('sbx-1') }), {
    dial: (signal) => {
      dials.push(signal);
      return new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
      });
    },
  });
  await client.sandboxes.create();
  expect(dials.map(({ aborted }) => aborted)).toEqual([true]);
  const command = client.sandboxes.at('sbx-1').exec('true').then(String, String);
  await vi.waitUntil(() => dials.length === 2);
  await client.sandboxes.create();
  expect(dials.map(({ aborted }) => aborted)).toEqual([true, false]);
  await client.close();
  expect(dials.map(({ aborted }) => aborted)).toEqual([true, true]);
  await command;
});

it('calls that move to another gateway take the link along, without what runs over it', async () => {
  const gateway = new FakeGateway((process) => process.exit(0));
  gateway.hello = { generation: 1, calls: true };
  gateway.onOther = () => ({});
  const dialled: string[] = [];
  const endpoints = new Endpoints(['a', 'b'], { random: () => 0 });
  const dial: Dial = (signal, url) => {
    dialled.push(url);
    return gateway.dial(signal, url);
  };
  const connection = new Connection({ dial, endpoints });
  onTestFinished(() => connection.close());
  expect(await connection.takesCalls('a')).toBe(true);
  let running: MuxStream | undefined;
  const closed = vi.fn();
  connection.tryOpen({ request: () => ({ op: 'other' }), handler: { closed }, begun: (stream) => (running = stream) });
  endpoints.failed('a');
  expect(await connection.takesCalls(endpoints.current)).toBe(true);
  expect(dialled).toEqual(['a', 'b']);
  await nextTurn();
  expect(running?.closed).toBe(false);
  expect(closed).not.toHaveBeenCalled();
});

it('a create that a cut left unanswered is repeated under its key over the next link', async () => {
  let cuts = 0;
  const { client, requests, asked, gateway } = await both(() => (cuts++ === 0 ? void gateway.cut() : info('sbx-1')));
  expect((await client.sandboxes.create({ image: 'a' })).id).toBe('sbx-1');
  expect(asked).toHaveLength(2);
  expect(asked[1]).toEqual(asked[0]);
  expect(requests).toEqual([]);
});

it('or over HTTP, if there is no other link', async () => {
  const { client, requests, asked, gateway } = await both(() => {
    gateway.onDial = refuse;
    gateway.cut();
    return undefined;
  });
  expect((await client.sandboxes.create({ image: 'a' })).id).toBe('sbx-http');
  expect(asked).toHaveLength(1);
  expect(requests).toMatchObject([{ method: 'POST', key: asked[0]?.['key'], body: { image: 'a' } }]);
});

it('a refusal is final, or is obeyed, as over HTTP', async () => {
  let refusals = [
    new ServiceError('quota_exceeded', 'too many', { retryAfterMs: 1, details: { limit: 1 } }),
    new ServiceError('rate_limited', 'too fast', { retryAfterMs: 1 }),
    new ServiceError('invalid_request', 'no such field'),
  ];
  const { client, asked, requests } = await both((_request, stream) => {
    const [refusal, ...rest] = refusals;
    refusals = rest;
    if (refusal !== undefined) stream.refuse(refusal);
    return undefined;
  });
  await expect(client.sandboxes.create().created()).rejects.toMatchObject({
    code: 'invalid_request',
    message: 'no such field',
  });
  expect(new Set(asked.map(({ key }) => key)).size).toBe(1);
  expect([asked.length, requests.length]).toEqual([3, 0]);
});

it('a create that was aborted ends its stream, and what it made is deleted', async () => {
  const closed = Promise.withResolvers<unknown>();
  const { client, requests, asked, gateway } = await both(() => undefined);
  const { onOther } = gateway;
  gateway.onOther = (stream) => ({ ...onOther(stream), closed: (error) => closed.resolve(error) });
  const abort = new AbortController();
  const made = client.sandboxes.create({ signal: abort.signal }).created();
  made.catch(() => undefined);
  await vi.waitUntil(() => asked.length === 1);
  abort.abort(new Error('enough'));
  await expect(made).rejects.toThrow('enough');
  expect(await closed.promise).toMatchObject({ code: 'cancelled' });
  await client.close();
  expect(requests.map(({ method, url }) => `${method} ${url.pathname}`)).toEqual([
    'POST /v1/sandboxes',
    'DELETE /v1/sandboxes/sbx-http',
  ]);
  expect(requests[0]?.key).toBe(asked[0]?.['key']);
});

it.each([0, 1, 2, 3, 4])(
  'an abort %i microtasks after the call ends it, whatever it had come to',
  async (microtasks) => {
    const { client, requests, asked } = await both(({ op }) =>
      info('sbx-1', op === 'delete' ? 'TERMINATED' : 'RUNNING'),
    );
    // From now on there is a link, and calls are sent without a wait.
    await client.sandboxes.create();
    const calls = [
      (signal: AbortSignal) => client.sandboxes.create({ signal }).created(),
      (signal: AbortSignal) => client.sandboxes.delete('sbx-2', { signal }),
    ];
    for (const call of calls) {
      const abort = new AbortController();
      const ended = call(abort.signal);
      ended.catch(() => undefined);
      for (let i = 0; i < microtasks; i++) await Promise.resolve();
      abort.abort(new Error('enough'));
      await expect(ended).rejects.toThrow('enough');
    }
    await client.close();
    // What was sent was also undone.
    const made = asked.filter(({ op }) => op === 'create').slice(1);
    expect(requests.filter(({ method }) => method === 'POST').map(({ key }) => key)).toEqual(
      made.map(({ key }) => key),
    );
  },
);

it('one that takes longer than its deadline fails then', async () => {
  const { client } = await both(() => undefined);
  const late = client.sandboxes.delete('sbx-1', { deadlineMs: 50 });
  await expect(late).rejects.toMatchObject({ code: 'deadline_exceeded' });
});

it('the end of the client ends what is unanswered', async () => {
  const { client, asked } = await both(() => undefined);
  const late = client.sandboxes.delete('sbx-1');
  late.catch(() => undefined);
  await vi.waitUntil(() => asked.length === 1);
  await client.close();
  await expect(late).rejects.toMatchObject({ code: 'cancelled' });
});

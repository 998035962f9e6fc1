import { describe, expect, it, vi } from 'vitest';
import { Millibox } from './client.ts';
import type { Sandboxes } from './sandboxes.ts';
import { info, service } from './testing/http-service.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

/** A service that answers no create before its key is repeated. */
async function mute() {
  const first = Promise.withResolvers<void>();
  const keys = new Set<string | undefined>();
  const it = await service(({ method, key, body }) => {
    if (method === 'DELETE') return { body: info('gone', 'TERMINATED') };
    if (!keys.has(key)) {
      keys.add(key);
      first.resolve();
      return new Promise(() => undefined);
    }
    const count = body?.['count'] as number | undefined;
    const made = Array.from({ length: count ?? 1 }, (_, i) => info(`sbx-${i}`));
    return { status: 201, body: count === undefined ? made[0] : { sandboxes: made } };
  });
  const deleted = (): string[] => it.requests.filter((r) => r.method === 'DELETE').map((r) => r.url.pathname);
  return { ...it, asked: first.promise, deleted };
}

describe('a create whose answer never came', () => {
  it.each<[string, (sandboxes: Sandboxes, abort: AbortController) => Promise<unknown>, object, number]>([
    ['was aborted', async (all, { signal }) => await all.create({ image: 'a', signal }), new Error('enough'), 1],
    [
      'was aborted, of many',
      (all, { signal }) => Promise.all(all.createMany(3, { image: 'a', signal })),
      new Error('enough'),
      3,
    ],
    [
      'took too long',
      async (all) => await all.create({ image: 'a', deadlineMs: 300 }),
      expect.objectContaining({ code: 'deadline_exceeded' }) as object,
      1,
    ],
  ])('because it %s leaves no sandbox', async (_why, create, error, count) => {
    const { client, requests, asked, deleted } = await mute();
    const abort = new AbortController();
    const made = expect(create(client.sandboxes, abort)).rejects.toThrow(error as Error);
    await asked;
    abort.abort(new Error('enough'));
    await made;
    const ids = Array.from({ length: count }, (_, i) => `/v1/sandboxes/sbx-${i}`);
    await vi.waitUntil(() => deleted().length === count, { timeout: 20_000 });
    expect(deleted().sort()).toEqual(ids);
    const [first, second] = requests;
    expect([second?.method, second?.key, second?.body]).toEqual(['POST', first?.key, first?.body]);
  });

  it('because all its answers were lost leaves no sandbox', async () => {
    let lost = 0;
    const { client, requests } = await service(({ method }) =>
      method === 'POST' && lost++ < 8 ? 'hang up' : { body: info('sbx-1') },
    );
    await expect(client.sandboxes.create().created()).rejects.toMatchObject({ code: 'node_unavailable' });
    await vi.waitUntil(() => requests.at(-1)?.method === 'DELETE', { timeout: 20_000 });
    expect(new Set(requests.slice(0, -1).map(({ key }) => key)).size).toBe(1);
  });

  it('because its gateway went away in the midst of it leaves no sandbox', async () => {
    const error = { code: 'draining', message: 'bye', retryable: true, retryAfterMs: 1 };
    const { client, requests } = await service((_request, n) =>
      n === 1 ? { status: 503, body: { error } } : { body: info('sbx-1') },
    );
    const made = client.sandboxes.create({ patienceMs: 0 }).created();
    await expect(made).rejects.toMatchObject({ code: 'draining' });
    await client.close();
    expect(requests.map(({ method }) => method)).toEqual(['POST', 'POST', 'DELETE']);
    expect(requests[1]?.key).toBe(requests[0]?.key);
  });

  it('because the client was closed leaves no sandbox, and close waits for that', async () => {
    const { client, asked, deleted } = await mute();
    const made = expect(client.sandboxes.create().created()).rejects.toMatchObject({ code: 'cancelled' });
    await asked;
    await client.close();
    expect(deleted()).toEqual(['/v1/sandboxes/sbx-0']);
    await made;
  });

  it('is asked for no more, and close waits no longer, than a few seconds', async () => {
    const asked = Promise.withResolvers<void>();
    const { client } = await service(() => {
      asked.resolve();
      return new Promise(() => undefined);
    });
    const made = expect(client.sandboxes.create().created()).rejects.toMatchObject({ code: 'cancelled' });
    await asked.promise;
    const before = performance.now();
    await client.close();
    expect(performance.now() - before).toBeGreaterThan(4_000);
    await made;
  });
});

describe('nothing is deleted', () => {
  it('of a create whose key its caller knows: the same call again gets what it made', async () => {
    const { client, requests, asked } = await mute();
    const abort = new AbortController();
    const create = (signal?: AbortSignal) => client.sandboxes.create({ idempotencyKey: 'mine', signal }).created();
    const made = expect(create(abort.signal)).rejects.toThrow();
    await asked;
    abort.abort();
    await made;
    expect((await create()).id).toBe('sbx-0');
    await client.close();
    expect(requests.map(({ method }) => method)).toEqual(['POST', 'POST']);
  });

  it('of a create that was refused, or aborted after a refusal', async () => {
    const error = { code: 'quota_exceeded', message: 'no more', retryable: true, retryAfterMs: 30_000 };
    const { client, requests } = await service(() => ({ status: 429, body: { error } }));
    const refused = client.sandboxes.create({ patienceMs: 0 }).created();
    await expect(refused).rejects.toMatchObject({ code: 'quota_exceeded' });
    const abort = new AbortController();
    const made = expect(client.sandboxes.create({ signal: abort.signal }).created()).rejects.toThrow('enough');
    await vi.waitUntil(() => requests.length === 2, { timeout: 20_000 });
    // The refusal was read: the client waits for the time that it names.
    await client.sandboxes.create({ patienceMs: 0 }).catch(() => undefined);
    abort.abort(new Error('enough'));
    await made;
    await client.close();
    expect(requests.map(({ method }) => method)).toEqual(['POST', 'POST', 'POST']);
  });

  it('of a create that was never sent', async () => {
    const { client, requests } = await service(() => ({ body: info('s') }));
    const none = client.sandboxes.create({ signal: AbortSignal.abort(new Error('too late')) }).created();
    await expect(none).rejects.toThrow('too late');
    await client.close();
    expect(requests).toEqual([]);
    const nowhere = new Millibox({ url: 'http://127.0.0.1:1', patienceMs: 60_000 });
    const abort = new AbortController();
    const made = expect(nowhere.sandboxes.create({ signal: abort.signal }).created()).rejects.toThrow('enough');
    setImmediate(() => abort.abort(new Error('enough')));
    await made;
    const before = performance.now();
    await nowhere.close();
    expect(performance.now() - before).toBeLessThan(4_000);
  });
});

import { describe, expect, it, vi } from 'vitest';
import { MilliboxError } from './errors.ts';
import { info, service } from './testing/http-service.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

describe('sandboxes', () => {
  it('are handles before the service has answered, and have their id afterwards', async () => {
    const { client, requests } = await service(() => ({ status: 201, body: info('sbx-1', 'PENDING') }));
    const sandbox = client.sandboxes.create({ image: 'a', labels: { run: '7' } });
    expect(() => sandbox.id).toThrow(TypeError);
    const made = await sandbox;
    expect(made.id).toBe('sbx-1');
    expect(sandbox.id).toBe('sbx-1');
    expect(requests[0]).toMatchObject({
      method: 'POST',
      auth: 'Bearer k1',
      body: { image: 'a', labels: { run: '7' } },
    });
  });

  it('are created once, though the answer to the first call was lost', async () => {
    const { client, requests } = await service((_request, n) => (n === 1 ? 'hang up' : { body: info('sbx-1') }));
    expect((await client.sandboxes.create()).id).toBe('sbx-1');
    expect(requests.length).toBe(2);
    expect(requests[0]!.key).toBe(requests[1]!.key);
  });

  it('refused by a quota or a full service are retried as often as told', async () => {
    const quota = { code: 'quota_exceeded', message: 'no more', retryable: true, retryAfterMs: 5 };
    const { client, requests } = await service((_request, n) =>
      n <= 20 ? { status: n % 2 === 0 ? 429 : 503, body: { error: quota } } : { body: info('sbx-1') },
    );
    expect((await client.sandboxes.create()).id).toBe('sbx-1');
    expect(requests.length).toBe(21);
    expect(new Set(requests.map(({ key }) => key)).size).toBe(1);
  });

  it('fail with the refusal once patience has run out, at once with none', async () => {
    const quota = {
      code: 'quota_exceeded',
      message: 'no more',
      retryable: true,
      retryAfterMs: 50,
      details: { limit: 3 },
    };
    const { client, requests } = await service(() => ({ status: 429, body: { error: quota } }));
    const refused = (patienceMs: number) => client.sandboxes.create({ patienceMs }).created();
    await expect(refused(0)).rejects.toMatchObject({ code: 'quota_exceeded', details: { limit: 3 } });
    expect(requests.length).toBe(1);
    await expect(refused(200)).rejects.toMatchObject({ code: 'quota_exceeded' });
    expect(requests.length).toBeGreaterThan(1);
  });

  it('fail with the typed error of the service', async () => {
    const error = { code: 'image_not_found', message: 'no such image', details: { image: 'x' } };
    const { client } = await service(() => ({ status: 422, body: { error } }));
    const thrown: unknown = await client.sandboxes.create({ image: 'x' }).then(undefined, (e: unknown) => e);
    expect(thrown).toBeInstanceOf(MilliboxError);
    expect(thrown).toMatchObject(error);
  });

  it('wait out a temporary refusal for as long as the service asks', async () => {
    const error = { code: 'rate_limited', message: 'slow down', retryable: true, retryAfterMs: 1 };
    const { client, requests } = await service((_r, n) =>
      n < 3 ? { status: 429, body: { error } } : { body: info('s') },
    );
    await client.sandboxes.create();
    expect(requests.length).toBe(3);
  });

  it('are created by the hundred in one call', async () => {
    const { client, requests } = await service(({ body }) => ({
      body: { sandboxes: Array.from({ length: Number(body!['count']) }, (_, i) => info(`sbx-${i}`)) },
    }));
    const many = client.sandboxes.createMany(100, { image: 'a' });
    const ids = await Promise.all(many.map(async (s) => (await s).id));
    expect(new Set(ids).size).toBe(100);
    expect(requests.length).toBe(1);
  });

  it('that take several calls have one key per call, the same when retried', async () => {
    const { client, requests } = await service(({ body }) => ({
      status: 201,
      body: { sandboxes: Array.from({ length: body?.['count'] as number }, (_, i) => info(`sbx-${i}`)) },
    }));
    for (let tries = 0; tries < 2; tries++) {
      await Promise.all(client.sandboxes.createMany(1_001, { idempotencyKey: 'step-17' }));
    }
    const keys = requests.map(({ key, body }) => `${key}: ${String(body?.['count'])}`).sort();
    expect(keys).toEqual(['step-17-0: 1000', 'step-17-0: 1000', 'step-17-1000: 1', 'step-17-1000: 1']);
  });

  it('that were refused are not retried before the time given', async () => {
    const seen: number[] = [];
    const error = { code: 'rate_limited', message: 'slow down', retryable: true, retryAfterMs: 300 };
    const { client } = await service((_, n) => {
      seen.push(performance.now());
      return n < 2 ? { status: 429, body: { error } } : { body: info('sbx-1') };
    });
    await client.sandboxes.get('sbx-1');
    const [first = NaN, second = NaN] = seen;
    // A timer may fire a millisecond early.
    expect(second - first).toBeGreaterThanOrEqual(299);
  });

  it('are ready when they run, or report why they never will', async () => {
    const gone = { reason: 'image_pull_failed', errorCode: 'image_not_found' };
    const { client } = await service(({ url }, n) => {
      const ends = url.pathname.endsWith('sbx-bad');
      if (n < 4) return { body: info(ends ? 'sbx-bad' : 'sbx-1', 'PROVISIONING') };
      return {
        body: ends ? info('sbx-bad', 'ERROR', { ...gone, message: 'gone' }) : info('sbx-1'),
      };
    });
    const sandbox = await client.sandboxes.create();
    expect((await sandbox.ready()).status).toBe('RUNNING');
    const bad = await client.sandboxes.get('sbx-bad');
    await expect(bad.ready()).rejects.toMatchObject({
      code: 'sandbox_ended',
      details: gone,
    });
  });

  it('are listed over pages, with all labels applied', async () => {
    const { client, requests } = await service(({ url }) =>
      url.searchParams.get('cursor') === null
        ? { body: { sandboxes: [info('a'), info('b')], nextCursor: 'n' } }
        : { body: { sandboxes: [info('c')], nextCursor: null } },
    );
    const ids = [];
    for await (const s of client.sandboxes.list({ labels: { a: '1', b: '2' }, status: 'RUNNING' })) ids.push(s.id);
    expect(ids).toEqual(['a', 'b', 'c']);
    expect(requests[0]!.url.searchParams.getAll('label')).toEqual(['a=1', 'b=2']);
  });

  it('are deleted at the end of the block, even when they ended before', async () => {
    const { client, requests } = await service(({ method }) =>
      method === 'DELETE'
        ? { status: 404, body: { error: { code: 'sandbox_not_found', message: '' } } }
        : { body: info('s') },
    );
    {
      await using sandbox = client.sandboxes.create();
      await sandbox.created();
    }
    expect(requests.map((r) => r.method)).toEqual(['POST', 'DELETE']);
  });

  it('are not all deleted by an empty label', async () => {
    const { client, requests } = await service(() => ({ body: { deleted: 3 } }));
    await expect(client.sandboxes.deleteByLabel({})).rejects.toMatchObject({ code: 'invalid_request' });
    expect(await client.sandboxes.deleteByLabel({ run: '1' })).toBe(3);
    expect(requests.length).toBe(1);
  });

  it('are deleted by label, with the total over all attempts, when it takes several and when it fails', async () => {
    const error = { code: 'node_unavailable', message: 'not all are known', retryAfterMs: 1 };
    const part = (deleted: number) => ({ status: 503, body: { error: { ...error, details: { deleted } } } });
    const back = await service((_request, n) => (n < 3 ? part(5 - n) : { body: { deleted: 1 } }));
    expect(await back.client.sandboxes.deleteByLabel({ run: '1' })).toBe(4 + 3 + 1);
    const away = await service((_request, n) => (n === 1 ? part(5) : part(0)));
    const failed = { code: 'node_unavailable', message: 'not all are known', details: { deleted: 5 } };
    await expect(away.client.sandboxes.deleteByLabel({ run: '1' })).rejects.toMatchObject(failed);
    const other = await service((_request, n) => (n === 1 ? part(5) : { status: 403 }));
    const forbidden = { code: 'forbidden', details: { deleted: 5 } };
    await expect(other.client.sandboxes.deleteByLabel({ run: '1' })).rejects.toMatchObject(forbidden);
  });

  it("reject a cancelled delete by label with the caller's reason, whatever was deleted", async () => {
    const error = { code: 'node_unavailable', message: '', retryAfterMs: 1, details: { deleted: 5 } };
    const [stop, reason] = [new AbortController(), new MilliboxError('cancelled', 'mine')];
    const { client } = await service((_request, n) => {
      if (n === 2) stop.abort(reason);
      return { status: 503, body: { error } };
    });
    await expect(client.sandboxes.deleteByLabel({ run: '1' }, { signal: stop.signal })).rejects.toBe(reason);
  });

  it('are not listed or deleted by labels that would be read differently', async () => {
    const { client, requests } = await service(() => ({ body: { deleted: 3, sandboxes: [] } }));
    const refused = { code: 'invalid_request' };
    for (const labels of [{ 'a=b': 'c' }, { run: '1', job: undefined as never }, { run: 1 as never }]) {
      await expect(client.sandboxes.deleteByLabel(labels)).rejects.toMatchObject(refused);
      await expect(client.sandboxes.list({ labels }).next()).rejects.toMatchObject(refused);
    }
    expect(requests).toEqual([]);
  });

  it('end a call at its deadline', async () => {
    const { client } = await service(() => new Promise(() => undefined));
    await expect(client.sandboxes.get('x', { deadlineMs: 30 })).rejects.toMatchObject({ code: 'deadline_exceeded' });
  });
});

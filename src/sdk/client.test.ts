import { describe, expect, it, vi } from 'vitest';
import { Millibox } from './client.ts';
import { info, service } from './testing/http-service.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

describe('a client that is closed', () => {
  const closed = { code: 'cancelled', message: 'the client was closed' };

  it('ends calls in progress, and those waiting to be retried', async () => {
    const asked = Promise.withResolvers<void>();
    const { client } = await service(() => {
      asked.resolve();
      return new Promise(() => undefined);
    });
    const waiting = expect(client.sandboxes.get('s')).rejects.toMatchObject(closed);
    await asked.promise;
    await client.close();
    await waiting;
    const nowhere = new Millibox({ url: 'http://127.0.0.1:1', patienceMs: 60_000 });
    const paused = expect(nowhere.sandboxes.get('s')).rejects.toMatchObject(closed);
    await new Promise((resolve) => setTimeout(resolve, 500));
    await nowhere.close();
    await paused;
  });

  it('refuses calls, and sends nothing', async () => {
    const { client, requests } = await service(() => ({ body: info('s') }));
    const sandbox = await client.sandboxes.create();
    await client.close();
    await client.close();
    await expect(sandbox.refresh()).rejects.toMatchObject(closed);
    await expect(client.sandboxes.create().created()).rejects.toMatchObject(closed);
    await expect(sandbox.exec('true').result).rejects.toMatchObject(closed);
    expect(requests.length).toBe(1);
  });
});

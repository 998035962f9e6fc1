import { expect, test } from 'vitest';
import { MAX_TIMEOUT_MS } from '../../../protocol/limits.ts';
import { PortTokens } from '../../ports/tokens.ts';
import type { Services } from '../../services.ts';
import { Exposures } from './exposures.ts';

const asked = { tenant: 'tenant', sandbox: 'sbx-a', port: 3000, name: null };

/** Exposures over running sandboxes; `tell` reports a change of one, `watched` is the number of listeners. */
function opened({ now }: { now: () => number }) {
  const listeners = new Set<(sandbox: { id: string; status: string }) => void>();
  const tokens = new PortTokens('secret', now);
  const sandboxes = {
    get: () => ({ status: 'RUNNING' }),
    subscribe: (_tenant: string, listener: (sandbox: { id: string; status: string }) => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  const exposures = new Exposures({ ports: { tokens }, sandboxes } as unknown as Services, null);
  const tell = (id: string, status: string): void => listeners.forEach((listener) => listener({ id, status }));
  return { tokens, exposures, tell, watched: () => listeners.size };
}

test("the URL of an exposed port is valid by the gateways' shared clock, however wrong the local clock is", async () => {
  const shared = Date.now() + 2 * MAX_TIMEOUT_MS;
  const { tokens, exposures } = opened({ now: () => shared });
  const { token } = await exposures.add(asked, 'HTTP');
  expect(tokens.check(token ?? '', asked).expiresAtMs).toBe(shared + MAX_TIMEOUT_MS);
});

test('a port stays exposed while its sandbox changes, and until that sandbox ends', async () => {
  const { exposures, tell, watched } = opened({ now: Date.now });
  const { id } = await exposures.add(asked, 'HTTP');
  await exposures.add({ ...asked, sandbox: 'sbx-b' }, 'HTTP');
  tell('sbx-a', 'RUNNING');
  tell('sbx-c', 'TERMINATED');
  expect(exposures.list('tenant', 'sbx-a').map((each) => each.id)).toEqual([id]);
  tell('sbx-a', 'TERMINATED');
  expect(exposures.list('tenant', null).map(({ sandbox }) => sandbox)).toEqual(['sbx-b']);
  expect(watched()).toBe(1);
  tell('sbx-b', 'TIMEOUT');
  expect(watched()).toBe(0);
});

test('of two exposures that share an address, the address lives as long as the second', async () => {
  const { exposures } = opened({ now: () => 1_000 });
  const [one, two] = [await exposures.add(asked, 'HTTP'), await exposures.add(asked, 'HTTP')];
  expect(one.token).toBe(two.token);
  exposures.remove('tenant', 'sbx-a', one.id);
  expect(exposures.has(two.token ?? '')).toBe(true);
  exposures.remove('tenant', 'sbx-a', two.id);
  expect(exposures.has(two.token ?? '')).toBe(false);
});

test('an exposure is visible to and removed by its own tenant only, under its own sandbox', async () => {
  const { exposures } = opened({ now: Date.now });
  const { id } = await exposures.add(asked, 'HTTP');
  expect([exposures.list('other', null), exposures.list('other', 'sbx-a')]).toEqual([[], []]);
  for (const [tenant, sandbox] of [
    ['other', 'sbx-a'],
    ['tenant', 'sbx-b'],
  ] as const) {
    expect(() => exposures.remove(tenant, sandbox, id)).toThrow(expect.objectContaining({ code: 'not_found' }));
  }
  expect(exposures.list('tenant', 'sbx-a')).toHaveLength(1);
});

test('a sandbox has at most 32 exposed ports, and none once all are removed', async () => {
  const { exposures } = opened({ now: Date.now });
  for (let port = 1; port <= 32; port++) await exposures.add({ ...asked, port }, 'HTTP');
  await expect(exposures.add({ ...asked, port: 33 }, 'HTTP')).rejects.toMatchObject({ code: 'rate_limited' });
  await exposures.add({ ...asked, sandbox: 'sbx-b' }, 'HTTP');
  exposures.close();
  expect(exposures.list('tenant', null)).toEqual([]);
  await expect(exposures.add(asked, 'HTTP')).rejects.toMatchObject({ code: 'draining' });
});

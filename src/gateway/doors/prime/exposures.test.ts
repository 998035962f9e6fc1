import { expect, test } from 'vitest';
import { MAX_TIMEOUT_MS } from '../../../protocol/limits.ts';
import { PortTokens } from '../../ports/tokens.ts';
import type { Services } from '../../services.ts';
import { Exposures } from './exposures.ts';

test('the URL of an exposed port is valid by the clock that gateways share, however wrong the clock here is', async () => {
  const shared = Date.now() + 2 * MAX_TIMEOUT_MS;
  const tokens = new PortTokens('secret', () => shared);
  const sandboxes = { get: () => ({ status: 'RUNNING' }), subscribe: () => () => undefined };
  const exposures = new Exposures({ ports: { tokens }, sandboxes } as unknown as Services, null);
  const asked = { tenant: 'tenant', sandbox: 'sbx-a', port: 3000, name: null };
  const { token } = await exposures.add(asked, 'HTTP');
  expect(tokens.check(token ?? '', asked).expiresAtMs).toBe(shared + MAX_TIMEOUT_MS);
});

import { afterEach, expect, test, vi } from 'vitest';
import { openSession } from './client.ts';

afterEach(() => void vi.unstubAllEnvs());

test('outside of a pod the error names the setting for a kubeconfig', async () => {
  vi.stubEnv('KUBERNETES_SERVICE_HOST', undefined);
  vi.stubEnv('KUBERNETES_SERVICE_PORT', undefined);
  await expect(openSession(null)).rejects.toThrow('MILLIBOX_KUBERNETES_CONFIG');
});

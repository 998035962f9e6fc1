/** Tells a gateway outside a cluster where the API server is, and its own credentials. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface KubeconfigOptions {
  /** Contains `ca.crt`, and the credentials: `token`, or `client.crt` and `client.key`. */
  dir: string;
  server: string;
  by: 'token' | 'certificate';
  namespace: string;
}

/** @returns its path */
export function writeKubeconfig({ dir, server, by, namespace }: KubeconfigOptions): string {
  const user =
    by === 'token'
      ? { 'auth-provider': { name: 'tokenFile', config: { tokenFile: join(dir, 'token') } } }
      : { 'client-certificate': join(dir, 'client.crt'), 'client-key': join(dir, 'client.key') };
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'c', cluster: { server, 'certificate-authority': join(dir, 'ca.crt') } }],
    users: [{ name: 'u', user }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u', namespace } }],
    'current-context': 'x',
  };
  const path = join(dir, `${by}.json`);
  writeFileSync(path, JSON.stringify(config));
  return path;
}

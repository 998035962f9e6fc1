import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { Millibox } from './index.ts';

/** The failures of a call over HTTP and of one over the WebSocket. */
async function failuresAt(server: Server, scheme: string): Promise<string[]> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = new Millibox({ url: `${scheme}://127.0.0.1:${port}`, patienceMs: 1 });
  onTestFinished(async () => {
    await client.close();
    server.closeAllConnections();
    server.close();
  });
  const sandbox = client.sandboxes.at('sbx-0123');
  const calls = await Promise.allSettled([sandbox.refresh(), sandbox.exec('true').result]);
  return calls.map((call) => (call.status === 'rejected' ? (call.reason as Error).message : 'none'));
}

test('for an https:// address of a service without TLS, the error questions the scheme', async () => {
  for (const message of await failuresAt(createServer(), 'https')) {
    expect(message).toMatch(/^the server at https:.* does not speak TLS: .*http:\/\/.*MILLIBOX_URL/);
  }
});

test('an untrusted certificate is reported, with how to trust it', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'tls-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const [key, cert] = [join(directory, 'key'), join(directory, 'cert')];
  const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=localhost', '-days', '1'];
  execFileSync('openssl', [...request, '-keyout', key, '-out', cert], { stdio: 'ignore' });
  const server = createTlsServer({ key: readFileSync(key), cert: readFileSync(cert) });
  for (const message of await failuresAt(server, 'https')) {
    expect(message).toMatch(/is not trusted \(self-signed certificate.*\): NODE_EXTRA_CA_CERTS/);
  }
});

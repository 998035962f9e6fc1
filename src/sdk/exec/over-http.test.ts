import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { Millibox } from '../index.ts';

async function* pieces() {
  yield 'one ';
  await Promise.resolve();
  yield 'two';
}

test('where no WebSocket gets through, a source that can be read once loses nothing', async () => {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { stdin: stdout } = JSON.parse(Buffer.concat(chunks).toString()) as { stdin: string };
      const ended = { exitCode: 0, signal: null, timedOut: false, oomKilled: false, durationMs: 1, queueMs: 0 };
      const truncated = { stdout: false, stderr: false };
      response.end(
        JSON.stringify({ execId: 'exe-1', stdout, stderr: '', truncated, stdoutBytes: 7, stderrBytes: 0, ...ended }),
      );
    });
  });
  server.on('upgrade', (_request, socket) => socket.end('HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const client = new Millibox({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
  onTestFinished(async () => {
    await client.close();
    server.close();
  });
  expect((await client.sandboxes.at('sbx-0123').exec('cat', { stdin: pieces() })).stdout).toBe('one two');
});

test('where no WebSocket gets through, writing to stdin later is refused with the reason why none does', async () => {
  const server = createServer();
  server.on('upgrade', (_request, socket) => socket.end('HTTP/1.1 426 No\r\ncontent-length: 0\r\n\r\n'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const client = new Millibox({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
  onTestFinished(async () => {
    await client.close();
    server.close();
  });
  await expect(client.sandboxes.at('sbx-0123').exec('cat', { stdin: true }).result).rejects.toMatchObject({
    code: 'not_supported',
    message: expect.stringContaining('426') as string,
  });
});

/** Commands on a network that blocks WebSockets. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { MAX_BLOCKING_STDIN_BYTES } from '../../protocol/limits.ts';
import { Millibox, type Sandbox } from '../index.ts';

async function* pieces() {
  yield 'one ';
  await Promise.resolve();
  yield 'two';
}

/** A sandbox of a service that refuses every upgrade. Ends with the current test. */
async function sandboxBehind(listener: RequestListener, status = 426): Promise<Sandbox> {
  const server = createServer(listener);
  server.on('upgrade', (_request, socket) => socket.end(`HTTP/1.1 ${status} No\r\ncontent-length: 0\r\n\r\n`));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const client = new Millibox({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
  onTestFinished(async () => {
    await client.close();
    server.closeAllConnections();
    server.close();
  });
  return client.sandboxes.at('sbx-0123');
}

async function bodyOf(request: IncomingMessage): Promise<{ stdin?: string }> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString()) as { stdin?: string };
}

/** Echoes its input. */
const cat: RequestListener = (request, response) => {
  void bodyOf(request).then(({ stdin: stdout = '' }) => {
    const ended = { exitCode: 0, signal: null, timedOut: false, oomKilled: false, durationMs: 1, queueMs: 5 };
    const truncated = { stdout: false, stderr: false };
    response.end(
      JSON.stringify({ execId: 'exe-1', stdout, stderr: '', truncated, stdoutBytes: 7, stderrBytes: 0, ...ended }),
    );
  });
};

const needsOne = { code: 'not_supported', message: expect.stringMatching(/needs a WebSocket.*426/) as string };

test('a source that can be read only once loses nothing', async () => {
  const sandbox = await sandboxBehind(cat, 404);
  expect((await sandbox.exec('cat', { stdin: pieces() })).stdout).toBe('one two');
});

test('writing to stdin later is refused with the reason why there is no WebSocket', async () => {
  const sandbox = await sandboxBehind(cat);
  await expect(sandbox.exec('cat', { stdin: true }).result).rejects.toMatchObject(needsOne);
});

test('more stdin than a call takes is refused with the reason why it has to be a call', async () => {
  const sandbox = await sandboxBehind(cat);
  const stdin = Buffer.alloc(MAX_BLOCKING_STDIN_BYTES + 1);
  const refused = {
    code: 'body_too_large',
    message: expect.stringMatching(/bytes of stdin needs a WebSocket.*426/) as string,
  };
  await expect(sandbox.exec('cat', { stdin }).result).rejects.toMatchObject(refused);
});

test('a command is reported as started once it is known to have', async () => {
  const sandbox = await sandboxBehind(cat);
  expect(await sandbox.exec('cat', { stdin: 'x' }).started).toEqual({ pid: null, queueMs: 5 });
});

test('a kill hangs up on the call, so that the command ends', async () => {
  const came = Promise.withResolvers<IncomingMessage>();
  const sandbox = await sandboxBehind((request) => came.resolve(request));
  const running = sandbox.exec('sleep 1000');
  const over = once((await came.promise).socket, 'close');
  running.kill();
  await expect(running.result).rejects.toMatchObject({ code: 'cancelled' });
  await over;
});

test('a command that is killed before it was sent stays unsent', async () => {
  let calls = 0;
  const sandbox = await sandboxBehind(() => (calls += 1));
  const running = sandbox.exec('true', {
    stdin: (async function* () {
      yield 'x';
      await new Promise(() => undefined);
    })(),
  });
  running.kill();
  await expect(running.result).rejects.toMatchObject({ code: 'cancelled' });
  expect(calls).toBe(0);
});

test('no signal and no detach is silently ignored', async () => {
  const came = Promise.withResolvers<void>();
  const sandbox = await sandboxBehind(() => came.resolve());
  const early = sandbox.exec('sleep 1000');
  early.signal('INT');
  await expect(early.result).rejects.toMatchObject(needsOne);
  const late = sandbox.exec('sleep 1000');
  await came.promise;
  expect(() => late.signal('INT')).toThrow(expect.objectContaining(needsOne) as Error);
  await expect(late.detach()).rejects.toMatchObject(needsOne);
  late.kill();
  await expect(late.result).rejects.toMatchObject({ code: 'cancelled' });
});

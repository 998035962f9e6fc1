/**
 * A server that accepts everything and does nothing: it speaks the SDK's protocol, its sandboxes exist at once, and a
 * command that is an echo returns its input. What a generator measures against it is the generator's own share. Started
 * with an IPC channel, over which it reports its address; it ends with its parent.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { acceptWs, createMux, type MuxStream, type StreamHandler } from '../../../src/mux/index.ts';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { Channel } from '../../../src/protocol/frames.ts';
import { newSandboxId } from '../../../src/protocol/ids.ts';
import type { Sandbox } from '../../../src/protocol/sandbox.ts';

const server = createServer((request, response) => {
  request.resume();
  request.on('end', () => answer(request, response));
});

server.on('upgrade', (request, socket, head) => {
  try {
    createMux({
      transport: acceptWs(request, socket, head, 'millibox.v1'),
      role: 'listener',
      hello: { generation: 1 },
      onHello: () => undefined,
      onOpen: run,
    });
  } catch {
    socket.destroy();
  }
});

function answer(request: IncomingMessage, response: ServerResponse): void {
  const id = /\/(sbx-[a-z0-9]+)/.exec(request.url ?? '')?.[1] ?? newSandboxId();
  const body = JSON.stringify(sandbox(id, request.method === 'DELETE' ? 'TERMINATED' : 'RUNNING'));
  response.writeHead(request.method === 'POST' ? 201 : 200, { 'content-type': 'application/json' }).end(body);
}

function sandbox(id: string, status: 'RUNNING' | 'TERMINATED'): Sandbox {
  const now = new Date().toISOString();
  return {
    id,
    name: null,
    image: 'none',
    status,
    reason: status === 'TERMINATED' ? 'deleted' : null,
    message: null,
    node: 'none',
    cpus: 1,
    memoryMb: 128,
    diskMb: null,
    pidsLimit: 512,
    network: 'off',
    labels: {},
    createdAt: now,
    startedAt: now,
    endedAt: null,
    expiresAt: now,
    timings: { warm: true },
  };
}

function run(stream: MuxStream): StreamHandler {
  const { argv } = stream.request;
  if (!Array.isArray(argv) || argv[0] !== '/bin/echo')
    throw new ServiceError('not_supported', 'echo alone is known here');
  const output = Buffer.from(`${argv.slice(1).join(' ')}\n`);
  queueMicrotask(() => {
    stream.accept({ pid: 1, queueMs: 0 });
    void stream.write(Channel.STDOUT, output);
    stream.event({
      type: 'exit',
      exitCode: 0,
      signal: null,
      timedOut: false,
      oomKilled: false,
      stdoutBytes: output.length,
      stderrBytes: 0,
      durationMs: 0,
    });
    stream.end();
  });
  return {};
}

process.on('disconnect', () => process.exit(0));
server.listen(0, '127.0.0.1', () => {
  process.send?.({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
});

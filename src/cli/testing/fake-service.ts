/** Runs the CLI against a service whose answers the test gives. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

const MAIN = join(import.meta.dirname, '..', 'main.ts');

interface Request {
  method: string;
  /** With its query. */
  url: string;
  body: string;
}
export interface Answer {
  status?: number;
  body?: unknown;
}

export interface FakeService {
  url: string;
  requests: Request[];
}

/** Answers plain HTTP and refuses every upgrade, as some proxies do. Ends with the current test. */
export async function fakeService(answer: (request: Request) => Answer | Promise<Answer>): Promise<FakeService> {
  const requests: Request[] = [];
  const server = createServer((incoming, outgoing) => {
    void (async () => {
      const request = { method: incoming.method ?? '', url: incoming.url ?? '', body: await textOf(incoming) };
      requests.push(request);
      const { status = 200, body } = await answer(request);
      outgoing.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    })();
  });
  server.on('upgrade', (_request, socket) => {
    socket.on('error', () => undefined);
    socket.end('HTTP/1.1 400 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
}

async function textOf(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** The program from the sources, as a child process whose stdin is open, or a given file. */
export function startCli(
  { url }: FakeService,
  args: readonly string[],
  stdin: 'pipe' | number = 'pipe',
): ChildProcess & { ended: Promise<Ended> } {
  const env = { PATH: process.env['PATH'], MILLIBOX_URL: url, MILLIBOX_API_KEY: 'key', MILLIBOX_HOME: '/nonexistent' };
  const child = spawn(process.execPath, [MAIN, ...args], { env, stdio: [stdin, 'pipe', 'pipe'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  child.stdin?.on('error', () => undefined);
  let [stdout, stderr] = ['', ''];
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, stdout, stderr }));
  return Object.assign(child, { ended });
}

/** Runs the CLI to its end. */
export async function cli(service: FakeService, args: readonly string[], input = ''): Promise<Ended> {
  const child = startCli(service, args);
  child.stdin?.end(input);
  return await child.ended;
}

/** Close frames, byte for byte: RFC 6455, sections 5.5.1 and 7.4. */
import { once } from 'node:events';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { expect, onTestFinished, test, vi } from 'vitest';
import { WebSocket } from 'ws';
import type { Transport } from '../types.ts';
import { acceptWs } from './handshake.ts';

// Generous: a busy machine is ten times slower.
vi.setConfig({ testTimeout: 120_000 });

/** A server of ours, and what it makes of its first client. */
async function server(): Promise<{ port: number; accepted: Promise<Transport> }> {
  const accepted = Promise.withResolvers<Transport>();
  const listener = http.createServer().on('upgrade', (request, socket, head) => {
    const transport = acceptWs(request, socket, head, 'test.v1');
    transport.start(
      () => undefined,
      () => undefined,
    );
    accepted.resolve(transport);
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  onTestFinished(() => void listener.close());
  return { port: (listener.address() as AddressInfo).port, accepted: accepted.promise };
}

const payload = (code: number, reason = ''): number[] => [code >>> 8, code & 0xff, ...Buffer.from(reason)];

test.each<[string, number[], number[]]>([
  ['no code', [], []],
  ['a code', payload(1000), payload(1000)],
  ['a code and a reason', payload(1001, 'bye'), payload(1001)],
  ['a code of the registry', payload(1012), payload(1012)],
  ['a code of a library', payload(3000), payload(3000)],
  ['a code of an application', payload(4999, 'ü'), payload(4999)],
  ...[0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535].map((code): [string, number[], number[]] => [
    `${code}, which no frame may hold,`,
    payload(code),
    payload(1002, `close code ${code}`),
  ]),
  ['half a code', [3], payload(1002, 'half a close code')],
  ['a reason that is no text', [...payload(1000), 0xff], payload(1007, 'the reason of a close is not UTF-8')],
])('a close with %s is answered as the protocol has it', async (_what, sent, answer) => {
  const { port } = await server();
  const socket = net.connect(port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  socket.write(
    'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
      `Sec-WebSocket-Key: ${'A'.repeat(22)}==\r\nSec-WebSocket-Protocol: test.v1\r\n\r\n`,
  );
  // A mask of zeros changes nothing.
  socket.write(Buffer.from([0x88, 0x80 | sent.length, 0, 0, 0, 0, ...sent]));
  const all = Buffer.concat((await socket.toArray()) as Buffer[]);
  expect([...all.subarray(all.indexOf('\r\n\r\n') + 4)]).toEqual([0x88, answer.length, ...answer]);
});

test('why it closes is said in whole characters, as many as a close frame takes', async () => {
  const { port, accepted } = await server();
  const ws = new WebSocket(`ws://127.0.0.1:${port}`, ['test.v1']);
  onTestFinished(() => ws.terminate());
  const over = once(ws, 'close') as Promise<[number, Buffer]>;
  (await accepted).close({ code: '€'.repeat(50) as 'internal', message: '' });
  const [code, reason] = await over;
  expect([code, reason.toString()]).toEqual([1008, '€'.repeat(41)]);
});

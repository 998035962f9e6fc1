import { once } from 'node:events';
import { connect, type AddressInfo } from 'node:net';
import Fastify, { type FastifyInstance } from 'fastify';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Services } from '../services.ts';
import { createLifecycle } from '../lifecycle.ts';
import { clientGone, onClosed } from './client-gone.ts';
import { registerRoutes, route } from './route.ts';

let app: FastifyInstance;
let port: number;
let lifecycle: ReturnType<typeof createLifecycle>;
/** Calls are held between their body and their handler until their client has gone. */
let held: boolean;
let arrived: PromiseWithResolvers<void>;
let reached: PromiseWithResolvers<{ signals: AbortSignal[]; closed: boolean[] }>;
/** The handler's answer. */
let answer: Promise<unknown>;

beforeEach(async () => {
  app = Fastify();
  lifecycle = createLifecycle();
  held = false;
  arrived = Promise.withResolvers();
  reached = Promise.withResolvers();
  answer = Promise.resolve({});
  app.addHook('preHandler', async (_request, reply) => {
    arrived.resolve();
    if (held) await once(reply.raw, 'close');
  });
  const services = { lifecycle, auth: { byHeader: () => ({ tenant: 'a' }) } } as unknown as Services;
  registerRoutes(app, services, [
    route({ method: 'POST', url: '/call', id: 'call', summary: '', waits: true, answers: {} }, ({ signal, reply }) => {
      const closed: boolean[] = [];
      onClosed(reply, (answered) => closed.push(answered));
      reached.resolve({ signals: [signal, clientGone(reply)], closed });
      return answer;
    }),
  ]);
  await app.listen({ host: '127.0.0.1', port: 0 });
  port = (app.server.address() as AddressInfo).port;
});
afterEach(() => app.close());

const CALL = 'POST /call HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}';

test('a client that has gone before its call is handled is noticed', async () => {
  held = true;
  const socket = connect(port, '127.0.0.1');
  socket.write(CALL);
  await arrived.promise;
  socket.resetAndDestroy();
  const { signals, closed } = await reached.promise;
  expect(signals.map(({ aborted, reason }) => [aborted, reason])).toEqual([
    [true, expect.objectContaining({ code: 'cancelled' })],
    [true, expect.objectContaining({ code: 'cancelled' })],
  ]);
  expect(closed).toEqual([false]);
  // The call has left no listener that the server's shutdown would still notify.
  await lifecycle.drain(0);
  expect(signals[0]?.reason).toMatchObject({ code: 'cancelled' });
});

test('one that goes while its call is handled is noticed, and one that was answered does not count as gone', async () => {
  const never = Promise.withResolvers<unknown>();
  answer = never.promise;
  const going = connect(port, '127.0.0.1');
  going.write(CALL);
  const first = await reached.promise;
  going.resetAndDestroy();
  await Promise.all(first.signals.map((signal) => once(signal, 'abort')));
  never.resolve({});

  reached = Promise.withResolvers();
  answer = Promise.resolve({});
  const staying = connect(port, '127.0.0.1');
  staying.write(CALL);
  const second = await reached.promise;
  await once(staying, 'data');
  staying.destroy();
  await once(staying, 'close');
  await expect.poll(() => second.closed).toEqual([true]);
  expect(second.signals.map(({ aborted }) => aborted)).toEqual([false, false]);
});

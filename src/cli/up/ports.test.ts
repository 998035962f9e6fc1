import { createServer } from 'node:net';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { freePort as freeTestPort } from '../../../test/helpers/ports.ts';
import { freePort, inTheWay, isFree } from './ports.ts';

/** A loopback address of this test's own: at 127.0.0.1 tests that run beside it could take its ports. */
const HOST = '127.0.20.1';

/** Two adjacent ports that are free and were never given out, next to a port of this worker. */
async function freePair(): Promise<{ first: number; last: number }> {
  for (;;) {
    const first = (await freeTestPort(HOST)) + 1;
    if ((await isFree(first, HOST)) && (await isFree(first + 1, HOST))) return { first, last: first + 1 };
  }
}

test('a port that was given out is not given out again, even if nobody listens there yet', async () => {
  const pair = await freePair();
  const ports = [await freePort(HOST, pair), await freePort(HOST, pair)];
  expect(ports.toSorted()).toEqual([pair.first, pair.last]);
  await expect(freePort(HOST, pair)).rejects.toThrow('no free port');
});

test('a port with a listener is not given out, and the reason has a name', async () => {
  const { first: port } = await freePair();
  const server = createServer().listen(port, HOST);
  await once(server, 'listening');
  try {
    expect(await inTheWay(port, HOST)).toBe('EADDRINUSE');
    await expect(freePort(HOST, { first: port, last: port })).rejects.toThrow('no free port');
  } finally {
    server.close();
    await once(server, 'close');
  }
  expect(await inTheWay(port, HOST)).toBeUndefined();
});

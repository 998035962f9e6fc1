import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { freePort, inTheWay } from './ports.ts';

const HOST = '127.0.0.1';

test('a port that was given is not given again, though nobody listens there yet', async () => {
  const pair = { first: 20_100, last: 20_101 };
  const ports = [await freePort(HOST, pair), await freePort(HOST, pair)];
  expect(ports.toSorted()).toEqual([20_100, 20_101]);
  await expect(freePort(HOST, pair)).rejects.toThrow('no free port');
});

test('a port with a listener is not given, and the reason has a name', async () => {
  const server = createServer().listen(0, HOST);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  try {
    expect(await inTheWay(port, HOST)).toBe('EADDRINUSE');
    await expect(freePort(HOST, { first: port, last: port })).rejects.toThrow('no free port');
  } finally {
    server.close();
  }
  expect(await inTheWay(port, HOST)).toBeUndefined();
});

import { once } from 'node:events';
import { createServer, type AddressInfo, type ListenOptions } from 'node:net';
import { expect, test } from 'vitest';
import { listenProblem } from './listen-problem.ts';

async function errorOf(where: ListenOptions): Promise<unknown> {
  const [error] = (await once(createServer().listen(where), 'error')) as [unknown];
  return error;
}

test('a port that is taken is named, with the setting that chose it', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  try {
    expect(listenProblem(await errorOf({ port, host: '127.0.0.1' }), 'MILLIBOX_LISTEN')).toBe(
      `cannot listen on 127.0.0.1:${port}: another process listens there (set by MILLIBOX_LISTEN)`,
    );
  } finally {
    other.close();
    await once(other, 'close');
  }
});

test('an address that no interface has is named', async () => {
  expect(listenProblem(await errorOf({ port: 20_000, host: '192.0.2.1' }), 'MILLIBOX_AGENT_LISTEN')).toBe(
    'cannot listen on 192.0.2.1:20000: no interface of this machine has that address (set by MILLIBOX_AGENT_LISTEN)',
  );
});

test('other errors are not explained', () => {
  expect(listenProblem(Object.assign(new Error('no'), { syscall: 'open', code: 'EACCES' }), 'X')).toBeUndefined();
  expect(listenProblem('no', 'X')).toBeUndefined();
});

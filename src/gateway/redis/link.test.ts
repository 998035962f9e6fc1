import { pino } from 'pino';
import { expect, test } from 'vitest';
import { freePort } from '../../../test/helpers/ports.ts';
import { RedisLink } from './link.ts';

test('a Redis that never answered is told of once, with why', async () => {
  const lines: string[] = [];
  const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
  const port = await freePort();
  const link = await RedisLink.open({ url: `redis://:a-password@127.0.0.1:${port}`, log });
  const tries = Promise.withResolvers<void>();
  let count = 0;
  link.client.on('close', () => ((count += 1) === 3 ? tries.resolve() : undefined));
  await tries.promise;
  await link.stop();
  expect(lines.map((line) => JSON.parse(line) as object)).toEqual([
    expect.objectContaining({ level: 40, reason: 'ECONNREFUSED', msg: 'redis is away' }),
  ]);
});

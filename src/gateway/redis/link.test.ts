import { pino } from 'pino';
import { expect, onTestFinished, test } from 'vitest';
import { freePort } from '../../../test/helpers/ports.ts';
import { RedisLink } from './link.ts';

test('a Redis that never answered is logged once, with the reason', async () => {
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

/** A link to nothing, and what it logs. */
async function unconnected() {
  const lines: { msg: string; reason?: string; level: number }[] = [];
  const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(JSON.parse(line) as never) });
  const link = await RedisLink.open({ url: `redis://127.0.0.1:${await freePort()}`, log });
  onTestFinished(() => link.stop());
  return { link, refusals: () => lines.filter(({ msg }) => msg.includes('refuses')) };
}

test('refusals by Redis are logged once per reason, and callers do without it', async () => {
  const { link, refusals } = await unconnected();
  const refuses = (message: string) => link.run(() => Promise.reject(Object.assign(new Error(message), reply)));
  const reply = { name: 'ReplyError' };
  for (const message of ['NOPERM no evalsha', 'NOPERM no evalsha', 'WRONGTYPE Operation against'])
    await expect(refuses(message)).rejects.toMatchObject({ code: 'node_unavailable' });
  expect(refusals()).toEqual([
    expect.objectContaining({ level: 40, reason: expect.stringContaining('NOPERM') as string }),
    expect.objectContaining({ level: 40, reason: expect.stringContaining('WRONGTYPE') as string }),
  ]);
});

test('a fault of ours is not mistaken for a Redis that is away; a broken connection is', async () => {
  const { link, refusals } = await unconnected();
  await expect(link.run(() => Promise.reject(new TypeError('fault')))).rejects.toThrow(TypeError);
  const broken = link.run(() => Promise.reject(new Error('Connection is closed.')));
  await expect(broken).rejects.toMatchObject({ code: 'node_unavailable' });
  expect(refusals()).toEqual([]);
});

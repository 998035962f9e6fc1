/** Gateways of two versions on one Redis: the older does not damage what the newer has written. */
import { Queue } from 'bullmq';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Tickets } from '../../../src/gateway/queue/tickets.ts';
import { WaitingList } from '../../../src/gateway/queue/waiting-list.ts';
import { BULL_PREFIX } from '../../../src/gateway/redis/keys.ts';
import { RedisLink } from '../../../src/gateway/redis/link.ts';
import { silent } from '../../../src/lib/logger.ts';
import { pendingRecord, type SandboxSpec } from '../../../src/protocol/node.ts';
import { lackingRedis, RedisServer } from '../../helpers/redis.ts';
import { until } from '../../helpers/until.ts';

const LIMIT_MS = 30_000;
const TENANT = 'default';

function specOf(n: number, more: object): SandboxSpec {
  const now = Date.now();
  const size = { cpus: 1, memoryMb: 512, diskMb: null, pidsLimit: 100 };
  const about = { tenant: TENANT, name: null, image: 'image', env: {}, secrets: {}, labels: {}, startCommand: null };
  const times = { createdAtMs: now, expiresAtMs: now + 3_600_000, idleTimeoutMs: null };
  return { id: `sbx-0000000000000000000${n}`, network: 'off', ...about, ...size, ...times, ...more };
}

describe.skipIf(lackingRedis !== null)('a ticket of a newer gateway', () => {
  let redis: RedisServer;
  let link: RedisLink;
  let tickets: Tickets;
  let waitingList: WaitingList;
  beforeAll(async () => {
    redis = await RedisServer.start();
    link = await RedisLink.open({ url: redis.url(), log: silent });
    await until(() => link.up, LIMIT_MS, 'redis to be there');
    tickets = await Tickets.open({ link, log: silent, lockMs: 400 });
    waitingList = new WaitingList(link, silent);
  });
  afterAll(async () => {
    await tickets?.close();
    await link?.stop();
    await redis?.[Symbol.asyncDispose]();
  });

  const write = async (spec: SandboxSpec): Promise<void> => {
    const queue = new Queue(TENANT, { connection: link.client, prefix: BULL_PREFIX, skipVersionCheck: true });
    await queue.add('ticket', { spec, priority: 0 }, { jobId: spec.id, removeOnComplete: true });
  };
  const jobs = async (): Promise<number> => await link.client.llen(`${BULL_PREFIX}:${TENANT}:wait`);

  test('keeps what only the newer understands', async () => {
    await write(specOf(1, { gpus: 2 }));
    const taken = await tickets.take(TENANT);
    expect(taken?.ticket.spec).toMatchObject({ gpus: 2 });
    await taken?.done();
  });

  test('that cannot be read is left to others while it is queued', async () => {
    const spec = specOf(2, { network: 'some of it' });
    await waitingList.announce({ record: pendingRecord(spec), priority: 0, weight: 1 }, 10);
    await write(spec);
    expect(await tickets.take(TENANT)).toBeNull();
    expect(await jobs()).toBe(0);
    await until(async () => await tickets.recover(TENANT), LIMIT_MS, 'it to be free');
    expect(await jobs()).toBe(1);
    await waitingList.gone(spec.id);
    expect(await tickets.take(TENANT)).toBeNull();
    // Nobody waits for it: it is discarded.
    expect(await link.client.exists(`${BULL_PREFIX}:${TENANT}:${spec.id}`)).toBe(0);
  });

  test('that ended for an unknown reason has still ended', async () => {
    const record = {
      ...pendingRecord(specOf(3, {})),
      status: 'ERROR',
      reason: 'evicted',
      endedAtMs: Date.now(),
    } as const;
    await waitingList.end(record as never);
    const ended: unknown[] = [];
    const nothing = (): void => undefined;
    waitingList.start({
      waits: nothing,
      ended: nothing,
      withdrawn: nothing,
      gone: nothing,
      all: (_waiting, all) => void ended.push(...all),
    });
    await until(() => ended.length > 0, LIMIT_MS, 'the list to be read');
    expect(ended).toMatchObject([{ id: record.id, status: 'ERROR', reason: 'internal' }]);
    waitingList.stop();
  });
});

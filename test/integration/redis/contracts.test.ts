/** Everything with an in-memory and a Redis implementation keeps the same contract in both. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { idempotencyContract } from '../../../src/gateway/idempotency/contract.ts';
import { RedisIdempotencyStore } from '../../../src/gateway/idempotency/redis-store.ts';
import { RedisLeader } from '../../../src/gateway/leader/redis-leader.ts';
import { queueContract } from '../../../src/gateway/queue/contract.ts';
import { SharedQueue } from '../../../src/gateway/queue/shared-queue.ts';
import { Tickets } from '../../../src/gateway/queue/tickets.ts';
import { WaitingList } from '../../../src/gateway/queue/waiting-list.ts';
import { RedisCounters } from '../../../src/gateway/redis/counters.ts';
import { KEYS } from '../../../src/gateway/redis/keys.ts';
import { RedisLink } from '../../../src/gateway/redis/link.ts';
import { countersContract } from '../../../src/gateway/tenants/counters-contract.ts';
import { silent } from '../../../src/lib/logger.ts';
import { pendingRecord, type SandboxSpec } from '../../../src/protocol/node.ts';
import { lackingRedis, RedisServer } from '../../helpers/redis.ts';
import { until } from '../../helpers/until.ts';

const LIMIT_MS = 20_000;

type Pair = [RedisIdempotencyStore, RedisIdempotencyStore];

describe.skipIf(lackingRedis !== null)('in Redis', () => {
  let redis: RedisServer;
  let database = 0;
  beforeAll(async () => {
    redis = await RedisServer.start();
  });
  afterAll(() => redis?.[Symbol.asyncDispose]());

  /** The links of two gateways to a fresh database. */
  async function openLinks(): Promise<{ links: [RedisLink, RedisLink]; close(): Promise<void> }> {
    const url = redis.url((database = (database + 1) % 16));
    const open = () => RedisLink.open({ url, log: silent });
    const links: [RedisLink, RedisLink] = [await open(), await open()];
    await until(() => links.every(({ up }) => up), LIMIT_MS, 'redis to be there');
    await links[0].client.flushdb();
    return {
      links,
      close: async () => {
        for (const link of links) await link.stop();
      },
    };
  }

  idempotencyContract({
    name: 'redis',
    open: async (options) => {
      const { links, close } = await openLinks();
      const common = { secret: 'secret', log: silent, ...options };
      const [store, other] = links.map((link) => new RedisIdempotencyStore({ link, ...common })) as Pair;
      return {
        store,
        other,
        close: async () => {
          for (const each of [store, other]) each.stop();
          await close();
        },
      };
    },
  });

  countersContract({
    name: 'redis',
    open: async () => {
      const { links, close } = await openLinks();
      const times = { placedMs: 60_000, orphanedMs: 1_000 };
      const [counters, other] = links.map((link) => new RedisCounters({ link, ...times })) as [
        RedisCounters,
        RedisCounters,
      ];
      return {
        counters,
        other,
        orphanedMs: times.orphanedMs,
        close: async () => {
          await counters.stop();
          await other.stop();
          await close();
        },
      };
    },
  });

  queueContract({
    name: 'redis',
    open: async (max) => {
      const { links, close } = await openLinks();
      const [link] = links;
      const tickets = await Tickets.open({ link, log: silent, lockMs: 4_000 });
      const waitingList = new WaitingList(link, silent);
      const queue = new SharedQueue({ link, waitingList, tickets, log: silent, max, recoverMs: 20_000 });
      return {
        queue,
        close: async () => {
          await queue.stop();
          await close();
        },
      };
    },
  });

  test('work of a gateway that goes silent is done by another, with the same seed', async () => {
    const { links, close } = await openLinks();
    const common = { secret: 'secret', log: silent, leaseMs: 300 };
    const [lost, next] = links.map((link) => new RedisIdempotencyStore({ link, ...common })) as Pair;
    const call = { scope: 's', key: 'k', request: {} };
    const seeds: string[] = [];
    const end = Promise.withResolvers<void>();
    const first = lost.run(call, async (seed) => {
      seeds.push(seed);
      await end.promise;
      return 'first';
    });
    await until(() => seeds.length === 1, LIMIT_MS, 'the work to begin');
    // The lease is no longer renewed.
    links[0].client.disconnect();
    const second = next.run(call, (seed) => {
      seeds.push(seed);
      return Promise.resolve('second');
    });
    expect(await second).toBe('second');
    end.resolve();
    expect(await first).toBe('first');
    expect(seeds[1]).toBe(seeds[0]);
    for (const each of [lost, next]) each.stop();
    await close();
  });

  test('one leads, another takes over when it goes silent, and what the first still sends is refused', async () => {
    const { links, close } = await openLinks();
    const leaders = links.map((link) => new RedisLeader({ link, log: silent, leaseMs: 600 }));
    const [a, b] = leaders as [RedisLeader, RedisLeader];
    await until(() => a.leading !== b.leading, LIMIT_MS, 'one to lead');
    const [first, second] = a.leading ? [a, b] : [b, a];
    const [cut, kept] = a.leading ? links : ([links[1], links[0]] as const);
    const terms: number[] = [];
    second.every(10, 'note the term', (term) => Promise.resolve(void terms.push(term)));
    const waitingList = new WaitingList(kept, silent);
    await waitingList.end({ ...pendingRecord({} as SandboxSpec), id: 'sbx-1', endedAtMs: 1 });
    const ended = (): Promise<number> => kept.run((client) => client.hlen(KEYS.ended));

    cut.client.disconnect();
    await until(() => second.leading && terms.length > 0, LIMIT_MS, 'the other to lead');
    expect(first.leading).toBe(false);
    expect(terms[0]).toBe(2);
    await waitingList.forgetOld(Date.now(), 1);
    expect(await ended()).toBe(1);
    await waitingList.forgetOld(Date.now(), 2);
    expect(await ended()).toBe(0);
    await Promise.all(leaders.map((leader) => leader.stop()));
    await close();
  });
});

/** Several gateways keep the order that a single one would keep. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Outcome } from '../../../src/gateway/queue/queue.ts';
import { SharedQueue } from '../../../src/gateway/queue/shared-queue.ts';
import { Tickets } from '../../../src/gateway/queue/tickets.ts';
import { WaitingList } from '../../../src/gateway/queue/waiting-list.ts';
import { RedisLink } from '../../../src/gateway/redis/link.ts';
import { plainSpec } from '../../../src/gateway/testing/plain-spec.ts';
import { silent } from '../../../src/lib/logger.ts';
import { lackingRedis, RedisServer } from '../../helpers/redis.ts';
import { until } from '../../helpers/until.ts';

const LIMIT_MS = 20_000;

/** One gateway's queue; this object stands in for its nodes. */
class Gateway {
  readonly #queue: SharedQueue;
  readonly #link: RedisLink;
  readonly #gone: Set<string>;
  #taken = 0;
  /** Free places as seen by this gateway. */
  room = 0;
  /** Offers to a node, in order, and how the test answers them. */
  readonly asked: { id: string; answer: (outcome: Outcome) => void }[] = [];

  private constructor(queue: SharedQueue, link: RedisLink, gone: Set<string>) {
    this.#queue = queue;
    this.#link = link;
    this.#gone = gone;
  }

  /** @param gone sandboxes that a node has, as known to all gateways */
  static async start(url: string, gone: Set<string>): Promise<Gateway> {
    const link = await RedisLink.open({ url, log: silent });
    await until(() => link.up, LIMIT_MS, 'redis to be there');
    const tickets = await Tickets.open({ link, log: silent, lockMs: 4_000 });
    const waitingList = new WaitingList(link, silent);
    const queue = new SharedQueue({ link, waitingList, tickets, log: silent, max: 100, recoverMs: 1_000 });
    const gateway = new Gateway(queue, link, gone);
    const take = tickets.take.bind(tickets);
    tickets.take = async (tenant) => {
      const taken = await take(tenant);
      if (taken !== null) gateway.#taken += 1;
      return taken;
    };
    queue.start((ticket) => gateway.#offer(ticket.spec.id), {
      fits: (needs) => gateway.room >= needs.length,
      isOpen: (id) => !gone.has(id),
      isPlaced: (id) => gone.has(id),
      allConnected: () => true,
      reported: () => undefined,
      withdrawn: () => undefined,
    });
    await until(() => queue.informed, LIMIT_MS, 'the queue to be known');
    return gateway;
  }

  get queue(): SharedQueue {
    return this.#queue;
  }

  /** This many places are free now, as seen by this gateway. */
  sees(room: number): void {
    this.room = room;
    this.#queue.wake();
  }

  /** Resolves once it has taken another ticket, to offer it or to put it back. */
  async looksAt(): Promise<void> {
    const before = this.#taken;
    await until(() => this.#taken > before, LIMIT_MS, 'a look at the queue');
  }

  async stop(): Promise<void> {
    for (const { answer } of this.asked) answer('later');
    await this.#queue.stop();
    await this.#link.stop();
  }

  #offer(id: string): Promise<Outcome> | null {
    if (this.room <= 0) return null;
    this.room -= 1;
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    const answer = (outcome: Outcome): void => {
      if (outcome === 'placed') this.#gone.add(id);
      resolve(outcome);
    };
    this.asked.push({ id, answer });
    return promise;
  }
}

describe.skipIf(lackingRedis !== null)('the order in the queue of several gateways', () => {
  let redis: RedisServer;
  let database = 0;
  let gateways: Gateway[] = [];
  beforeAll(async () => {
    redis = await RedisServer.start();
  });
  afterEach(async () => {
    await Promise.all(gateways.map((gateway) => gateway.stop()));
    gateways = [];
  });
  afterAll(() => redis?.[Symbol.asyncDispose]());

  async function start(): Promise<{ a: Gateway; b: Gateway; wait: (...ids: string[]) => Promise<void> }> {
    const url = redis.url((database += 1));
    const gone = new Set<string>();
    const [a, b] = [await Gateway.start(url, gone), await Gateway.start(url, gone)];
    gateways = [a, b];
    let createdAtMs = Date.now();
    const wait = async (...ids: string[]): Promise<void> => {
      for (const id of ids) {
        const [tenant = ''] = id;
        createdAtMs += 1;
        const spec = plainSpec({ id, tenant, createdAtMs, expiresAtMs: createdAtMs + 3_600_000 });
        await a.queue.add({ spec, priority: 0 });
        await until(() => gateways.every(({ queue }) => queue.position(id) !== null), LIMIT_MS, `${id} to be known`);
      }
    };
    return { a, b, wait };
  }

  const ids = (gateway: Gateway): string[] => gateway.asked.map(({ id }) => id);
  const isAsked = (gateway: Gateway, id: string): Promise<void> =>
    until(() => ids(gateway).includes(id), LIMIT_MS, `${id} to be offered`);

  test('a place that an older ticket is being sent to goes to no other', async () => {
    const { a, b, wait } = await start();
    await wait('t1', 't2', 'u1');
    a.sees(1);
    await isAsked(a, 't1');
    // The other gateway knows of the same place, but not yet of the ticket being sent there.
    const looked = b.looksAt();
    b.sees(1);
    await looked;
    expect(ids(b)).toEqual([]);
    a.asked[0]?.answer('placed');
    // Then it is the other tenant's turn.
    await isAsked(b, 'u1');
    expect(ids(b)).toEqual(['u1']);
  });

  test('if there is a place for both, the younger one does not wait', async () => {
    const { a, b, wait } = await start();
    await wait('t1', 't2');
    a.sees(1);
    await isAsked(a, 't1');
    b.sees(2);
    await isAsked(b, 't2');
  });

  test('a ticket that another gateway cannot bring to a node delays nobody for long', async () => {
    const { a, b, wait } = await start();
    await wait('t1', 't2');
    a.sees(1);
    await isAsked(a, 't1');
    b.sees(1);
    await isAsked(b, 't2');
  });

  test('tickets that come back together keep their order', async () => {
    const { a, wait } = await start();
    await wait('t9', 't5', 't7', 't1');
    a.sees(3);
    await isAsked(a, 't7');
    const tried = a.asked.splice(0);
    expect(tried.map(({ id }) => id)).toEqual(['t9', 't5', 't7']);
    for (const { answer } of tried) answer('later');
    await until(() => a.queue.depth === 4, LIMIT_MS, 'all to wait again');
    for (const id of ['t9', 't5', 't7', 't1']) {
      a.sees(1);
      await isAsked(a, id);
      a.asked.at(-1)?.answer('placed');
    }
    expect(ids(a)).toEqual(['t9', 't5', 't7', 't1']);
  });

  test('every gateway knows whose turn it is, whichever served the last one', async () => {
    const { a, b, wait } = await start();
    await wait('t1', 't2', 'u1', 'u2');
    a.sees(1);
    await isAsked(a, 't1');
    a.asked[0]?.answer('placed');
    await until(() => b.queue.depth === 3, LIMIT_MS, 'the first to be gone');
    expect(['u1', 't2', 'u2'].map((id) => b.queue.position(id))).toEqual([0, 1, 2]);
    b.sees(1);
    await isAsked(b, 'u1');
  });
});

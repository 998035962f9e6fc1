/** What gateways must share, in one of its two forms: in the memory of a single gateway, or in Redis. */
import type { Logger } from '../../lib/logger.ts';
import type { GatewayConfig } from '../config.ts';
import { MemoryIdempotencyStore } from '../idempotency/memory-store.ts';
import { RedisIdempotencyStore } from '../idempotency/redis-store.ts';
import type { IdempotencyStore } from '../idempotency/store.ts';
import type { Leader } from '../leader/leader.ts';
import { MemoryLeader } from '../leader/memory-leader.ts';
import { RedisLeader } from '../leader/redis-leader.ts';
import { MemoryQueue } from '../queue/memory-queue.ts';
import type { PlacementQueue } from '../queue/queue.ts';
import { SharedQueue } from '../queue/shared-queue.ts';
import { LOOKS, Tickets } from '../queue/tickets.ts';
import { WaitingRoom } from '../queue/waiting-room.ts';
import type { Owners } from '../sandboxes/rivals.ts';
import type { TenantCounters } from '../tenants/counters.ts';
import { MemoryCounters } from '../tenants/memory-counters.ts';
import { RedisCounters } from './counters.ts';
import { RedisLink } from './link.ts';
import { redisOwners } from './owners.ts';

export interface Shared {
  readonly queue: PlacementQueue;
  /** Keys of creates. Those of commands need no store: the id of a command is made of its key. */
  readonly idempotency: IdempotencyStore;
  readonly counters: TenantCounters;
  readonly leader: Leader;
  /** Null: there is one gateway, and the node that it sent a sandbox to last keeps it. */
  readonly owners: Owners | null;
  /** Milliseconds since 1970, by the clock that all gateways go by. */
  now(): number;
  /** Whether Redis answers; null where there is none. */
  readonly up: boolean | null;
  /** Called after the queue and all else that uses it was stopped. */
  stop(): Promise<void>;
}

export interface SharedTimes {
  lockMs?: number;
  leaseMs?: number;
  commandMs?: number;
  unheardMs?: number;
}

type SharedConfig = Pick<GatewayConfig, 'redisUrl' | 'queueMax' | 'queueWaitMs' | 'nodeSecret'>;

const HOUSEKEEPING_MS = 1_000;

export function inMemory({ queueMax }: Pick<SharedConfig, 'queueMax'>, log: Logger): Shared {
  const leader = new MemoryLeader(log);
  return {
    queue: new MemoryQueue({ max: queueMax }),
    idempotency: new MemoryIdempotencyStore(),
    counters: new MemoryCounters(),
    leader,
    owners: null,
    now: Date.now,
    up: null,
    stop: () => leader.stop(),
  };
}

/** Resolves whether Redis is there or not: it is looked for from then on. */
export async function openShared(config: SharedConfig, log: Logger, times: SharedTimes = {}): Promise<Shared> {
  const { redisUrl, queueMax, queueWaitMs } = config;
  if (redisUrl === undefined || redisUrl === null) return inMemory(config, log);
  const { lockMs = 4_000, leaseMs = 10_000, commandMs = 2_000, unheardMs } = times;
  const link = await RedisLink.open({ url: redisUrl, log, commandMs });
  const leader = new RedisLeader({ link, log, leaseMs });
  const room = new WaitingRoom(link, log);
  const tickets = await Tickets.open({ link, log, lockMs });
  const queue = new SharedQueue({ link, room, tickets, log, max: queueMax, recoverMs: lockMs / LOOKS });
  leader.every(HOUSEKEEPING_MS, 'look after the shared queue', async (term) => {
    if (!link.up) return;
    const now = link.clock.now();
    queue.endOverdue(now, queueWaitMs);
    await room.forgetOld(now, term);
  });
  return {
    queue,
    idempotency: new RedisIdempotencyStore({ link, secret: config.nodeSecret, leaseMs }),
    counters: new RedisCounters({ link, ...(unheardMs === undefined ? {} : { unheardMs }) }),
    leader,
    owners: redisOwners(link),
    now: link.clock.now,
    get up() {
      return link.up;
    },
    async stop() {
      await leader.stop();
      await link.stop();
    },
  };
}

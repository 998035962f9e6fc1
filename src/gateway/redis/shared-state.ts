/** The state that gateways share: in memory for a single gateway, in Redis for several. */
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
import { WaitingList } from '../queue/waiting-list.ts';
import type { Owners } from '../sandboxes/duplicate-resolver.ts';
import type { TenantCounters } from '../tenants/counters.ts';
import { MemoryCounters } from '../tenants/memory-counters.ts';
import { RedisCounters } from './counters.ts';
import { RedisLink } from './link.ts';
import { redisOwners } from './owners.ts';

export interface SharedState {
  readonly queue: PlacementQueue;
  /** Idempotency keys of creates. Keys of commands need no store: the id of a command is derived from its key. */
  readonly idempotency: IdempotencyStore;
  readonly counters: TenantCounters;
  readonly leader: Leader;
  /** Null with a single gateway: a sandbox stays on the node it was last sent to. */
  readonly owners: Owners | null;
  /** Milliseconds since 1970, by the clock that all gateways share. */
  now(): number;
  /** Whether Redis answers; null without Redis. */
  readonly up: boolean | null;
  /** Call after all its users have stopped. */
  stop(): Promise<void>;
}

export interface SharedTimes {
  lockMs?: number;
  leaseMs?: number;
  commandMs?: number;
  orphanedMs?: number;
}

type SharedConfig = Pick<GatewayConfig, 'redisUrl' | 'queueMax' | 'queueWaitMs' | 'nodeSecret'>;

const HOUSEKEEPING_MS = 1_000;

export function inMemory({ queueMax }: Pick<SharedConfig, 'queueMax'>, log: Logger): SharedState {
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

/** Resolves whether or not Redis can be reached; keeps trying to connect. */
export async function openShared(config: SharedConfig, log: Logger, times: SharedTimes = {}): Promise<SharedState> {
  const { redisUrl, queueMax, queueWaitMs } = config;
  if (redisUrl === undefined || redisUrl === null) return inMemory(config, log);
  const { lockMs = 4_000, leaseMs = 10_000, commandMs = 2_000, orphanedMs } = times;
  const link = await RedisLink.open({ url: redisUrl, log, commandMs });
  const leader = new RedisLeader({ link, log, leaseMs });
  const waitingList = new WaitingList(link, log);
  const tickets = await Tickets.open({ link, log, lockMs });
  const queue = new SharedQueue({ link, waitingList, tickets, log, max: queueMax, recoverMs: lockMs / LOOKS });
  leader.every(HOUSEKEEPING_MS, 'look after the shared queue', async (term) => {
    if (!link.up) return;
    const now = link.clock.now();
    queue.endOverdue(now, queueWaitMs);
    await waitingList.forgetOld(now, term);
  });
  const idempotency = new RedisIdempotencyStore({ link, secret: config.nodeSecret, log, leaseMs });
  return {
    queue,
    idempotency,
    counters: new RedisCounters({ link, ...(orphanedMs === undefined ? {} : { orphanedMs }) }),
    leader,
    owners: redisOwners(link),
    now: link.clock.now,
    get up() {
      return link.up;
    },
    async stop() {
      await leader.stop();
      idempotency.stop();
      await link.stop();
    },
  };
}

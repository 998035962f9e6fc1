import type { Logger } from '../../lib/logger.ts';
import type { RedisLink } from '../redis/link.ts';
import type { KnownQueue } from './known-queue.ts';
import type { Outbox } from '../redis/outbox.ts';
import type { Tickets } from './tickets.ts';
import type { WaitingList } from './waiting-list.ts';

/** What every part of the shared queue works with. */
export interface QueueParts {
  link: RedisLink;
  waitingList: WaitingList;
  tickets: Tickets;
  known: KnownQueue;
  outbox: Outbox;
  log: Logger;
}

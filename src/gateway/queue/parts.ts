import type { Logger } from '../../lib/logger.ts';
import type { RedisLink } from '../redis/link.ts';
import type { QueueView } from './queue-view.ts';
import type { Outbox } from '../redis/outbox.ts';
import type { Tickets } from './tickets.ts';
import type { WaitingList } from './waiting-list.ts';

/** What all parts of the shared queue have in common. */
export interface QueueParts {
  link: RedisLink;
  waitingList: WaitingList;
  tickets: Tickets;
  view: QueueView;
  outbox: Outbox;
  log: Logger;
}

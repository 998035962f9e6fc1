import { unavailable } from '../redis/link.ts';
import type { QueueParts } from './parts.ts';

/**
 * Removes a ticket that nobody wants any more. If a gateway holds it, it is removed once that gateway has finished it
 * or, if the gateway has died, once its lock has expired: a ticket holds env and secrets, and must not outlive its
 * sandbox.
 */
export function dropTicket(
  { outbox, tickets }: Pick<QueueParts, 'outbox' | 'tickets'>,
  tenant: string,
  id: string,
): void {
  void outbox.send(`drop ${id}`, async () => {
    if (!(await tickets.drop(tenant, id))) throw unavailable();
  });
}

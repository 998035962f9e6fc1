/** Calls that come in hundreds at once: only a few are begun per turn of the event loop, and others come in between. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { PerTurn } from '../../lib/per-turn.ts';
import { ServiceError } from '../../protocol/errors.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Its calls come in bursts. */
    bursts?: boolean;
  }
}

/** Each call takes a good part of a millisecond. */
const BEGUN_PER_TURN = 8;
/** Of one tenant. It takes them some seconds to begin. */
const MAX_WAITING = 16_384;
const RETRY_MS = 2_000;

/** The turns of these calls, shared by all ways in which they arrive. Tenants take turns with each other. */
export class Bursts {
  readonly #turns = new PerTurn(BEGUN_PER_TURN);

  /**
   * Calls `begin`, which must not throw, when it is its turn.
   * @returns what takes it out of the line, if it has not begun
   * @throws ServiceError `rate_limited`
   */
  enter(tenant: string, begin: () => void): () => void {
    if (this.#turns.waiting(tenant) < MAX_WAITING) return this.#turns.enter(tenant, begin);
    const message = `${MAX_WAITING} creates and deletes have not begun`;
    throw new ServiceError('rate_limited', message, { retryAfterMs: RETRY_MS });
  }
}

/**
 * For all routes that have `bursts` in their config, through whatever door.
 * @param tenantOf may throw
 */
export function paceBursts(app: FastifyInstance, bursts: Bursts, tenantOf: (request: FastifyRequest) => string): void {
  // Before the body is read: what follows is most of the work.
  app.addHook('preParsing', (request, _reply, payload, next) => {
    if (request.routeOptions.config.bursts !== true) return next(null, payload);
    try {
      bursts.enter(tenantOf(request), () => next(null, payload));
    } catch (error) {
      next(error as Error);
    }
  });
}

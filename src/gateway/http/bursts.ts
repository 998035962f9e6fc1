import type { FastifyInstance } from 'fastify';
import { PerTurn } from '../../lib/per-turn.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Called by hundreds at once: only a few calls are begun per turn of the event loop, and others come in between. */
    bursts?: boolean;
  }
}

/** Each call takes a good part of a millisecond. */
const BEGUN_PER_TURN = 8;

/** For all routes that have `bursts` in their config, through whatever door. */
export function paceBursts(app: FastifyInstance): void {
  const turns = new PerTurn(BEGUN_PER_TURN);
  // Before the body is read: what follows is most of the work.
  app.addHook('preParsing', (request, _reply, payload, next) => {
    if (request.routeOptions.config.bursts !== true) return next(null, payload);
    void turns.next().then(() => next(null, payload));
  });
}

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

/** Shared by all ways in which these calls arrive. */
export const createBursts = (): PerTurn => new PerTurn(BEGUN_PER_TURN);

/** For all routes that have `bursts` in their config, through whatever door. */
export function paceBursts(app: FastifyInstance, turns: PerTurn): void {
  // Before the body is read: what follows is most of the work.
  app.addHook('preParsing', (request, _reply, payload, next) => {
    if (request.routeOptions.config.bursts !== true) return next(null, payload);
    void turns.next().then(() => next(null, payload));
  });
}

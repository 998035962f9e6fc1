/** What the routes of this door share. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { ServiceError } from '../../../protocol/errors.ts';
import type { Services } from '../../services.ts';
import type { PrimeConfig } from './config.ts';
import type { Tokens } from './tokens.ts';

export interface PrimeContext {
  services: Services;
  config: PrimeConfig;
  tokens: Tokens;
}

/** First segments of data plane paths: `{DATA_PREFIX}/{NAMESPACE}/{sandbox}/{operation}`. */
export const DATA_PREFIX = '/prime';
export const NAMESPACE = 'sandboxes';

/** Fires when the client has gone before it was answered. */
export function clientGone(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) gone.abort(new ServiceError('cancelled'));
  });
  return gone.signal;
}

/** Base URL at which the client reached us, as far as we can tell; `publicUrl` overrides it. */
export function originOf(request: FastifyRequest, config: PrimeConfig): string {
  return config.publicUrl ?? `${request.protocol}://${request.headers.host ?? 'localhost'}`;
}

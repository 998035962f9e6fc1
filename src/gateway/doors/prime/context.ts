/** What the routes of this door share. */
import type { FastifyRequest } from 'fastify';
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

/** Base URL at which the client reached us, as far as we can tell; `publicUrl` overrides it. */
export function originOf(request: FastifyRequest, config: PrimeConfig): string {
  return config.publicUrl ?? `${request.protocol}://${request.headers.host ?? 'localhost'}`;
}

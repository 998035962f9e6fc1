/**
 * Tokens of the data plane. They carry what they stand for, signed with a key that all gateways of one installation
 * share, so that any of them can check one and none has to remember it. A token opens one sandbox, for a while.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import * as z from 'zod';
import { ServiceError } from '../../../protocol/errors.ts';

const Claims = z.object({ tenant: z.string(), sandbox: z.string(), expiresAtMs: z.number() });
export type Claims = z.infer<typeof Claims>;

const MAX_TOKEN_LENGTH = 2048;

export class Tokens {
  /** Milliseconds since 1970, by the clock that all gateways go by. */
  readonly now: () => number;
  readonly #key: Buffer;

  /** @param secret From which the key is derived; it is itself used for other things. */
  constructor(secret: string, now: () => number) {
    this.now = now;
    this.#key = createHmac('sha256', secret).update('millibox prime sandbox token').digest();
  }

  issue(claims: Claims): string {
    const body = Buffer.from(JSON.stringify(claims)).toString('base64url');
    return `${body}.${this.#sign(body)}`;
  }

  /** From an `Authorization` header. @throws ServiceError `unauthenticated` */
  check(header: string | undefined, sandbox: string): Claims {
    const token = /^Bearer +([\w.-]+) *$/i.exec(header ?? '')?.[1] ?? '';
    const [body = '', signature = ''] = token.length > MAX_TOKEN_LENGTH ? [] : token.split('.');
    const wanted = Buffer.from(this.#sign(body));
    const given = Buffer.from(signature);
    if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) throw refused();
    const claims = Claims.parse(JSON.parse(Buffer.from(body, 'base64url').toString('utf8')));
    if (claims.sandbox !== sandbox || claims.expiresAtMs <= this.now()) throw refused();
    return claims;
  }

  #sign(body: string): string {
    return createHmac('sha256', this.#key).update(body).digest('base64url');
  }
}

const refused = (): ServiceError =>
  new ServiceError('unauthenticated', 'The sandbox token is missing, has expired, or is for another sandbox.');

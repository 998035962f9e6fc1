/**
 * Tokens of the data plane. A token grants access to one sandbox for a limited time. It carries its claims, signed with
 * a key that all gateways of an installation share, so that any gateway can verify it without stored state.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import * as z from 'zod';
import { ServiceError } from '../../../protocol/errors.ts';

const Claims = z.object({ tenant: z.string(), sandbox: z.string(), expiresAtMs: z.number() });
export type Claims = z.infer<typeof Claims>;

const MAX_TOKEN_LENGTH = 2048;

export class Tokens {
  /** Milliseconds since 1970, by the clock that all gateways share. */
  readonly now: () => number;
  readonly #key: Buffer;

  /** @param secret the key is derived from it, since it is used for other purposes too */
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
  new ServiceError('unauthenticated', 'the sandbox token is missing, has expired, or is for another sandbox');

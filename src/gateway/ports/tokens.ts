/**
 * Tokens for one port of one sandbox, valid for a limited time on any gateway: for browsers and others without an API
 * key.
 */
import { createHmac } from 'node:crypto';
import { sameText } from '../../lib/node-auth.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { ID_PATTERN } from '../../protocol/ids.ts';

export interface PortGrant {
  tenant: string;
  sandbox: string;
  port: number;
  expiresAtMs: number;
}

export class PortTokens {
  /** Milliseconds since 1970, by the clock that all gateways share. */
  readonly now: () => number;
  readonly #key: Buffer;

  /** @param secret shared by all gateways; the signing key is derived from it */
  constructor(secret: string, now: () => number) {
    this.now = now;
    this.#key = createHmac('sha256', secret).update('port tokens').digest();
  }

  issue(grant: PortGrant): string {
    const body = Buffer.from(JSON.stringify([grant.tenant, grant.sandbox, grant.port, grant.expiresAtMs])).toString(
      'base64url',
    );
    return `${body}.${this.#mac(body)}`;
  }

  /** @throws ServiceError `unauthenticated` for a token that is forged, expired, or for another port. */
  check(token: string, wanted: { sandbox: string; port: number }): PortGrant {
    const [, body = '', mac = ''] = /^([\w-]{1,1024})\.([\w-]{43})$/.exec(token) ?? [];
    if (body === '' || !sameText(mac, this.#mac(body)))
      throw new ServiceError('unauthenticated', 'the port token is not valid');
    const [tenant, sandbox, port, expiresAtMs] = JSON.parse(Buffer.from(body, 'base64url').toString()) as [
      string,
      string,
      number,
      number,
    ];
    if (this.now() > expiresAtMs) throw new ServiceError('unauthenticated', 'the port token has expired');
    if (sandbox !== wanted.sandbox || port !== wanted.port) {
      throw new ServiceError('unauthenticated', 'the port token is for another port');
    }
    return { tenant, sandbox, port, expiresAtMs };
  }

  #mac(body: string): string {
    return createHmac('sha256', this.#key).update(body).digest('base64url');
  }
}

/** `3000-sbx-….DOMAIN` names a port of a sandbox. Undefined for any other host. */
export function portOfHost(host: string | undefined, domain: string): { sandbox: string; port: number } | undefined {
  // A name with a trailing dot is the same name, fully qualified.
  const name = (host ?? '').toLowerCase().replace(/\.?(?::\d+)?$/, '');
  if (!name.endsWith(`.${domain}`)) return undefined;
  const match = /^(\d{1,5})-([a-z0-9-]+)$/.exec(name.slice(0, -domain.length - 1));
  const sandbox = match?.[2] ?? '';
  const port = Number(match?.[1]);
  return port >= 1 && port <= 65_535 && ID_PATTERN.test(sandbox) ? { sandbox, port } : undefined;
}

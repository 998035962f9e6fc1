/**
 * Ports of sandboxes that were exposed: each at an address that nobody can guess, and that needs nothing beside it. The
 * address is the preview's, with its token in the path, so that clients can put paths behind it.
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ServiceError } from '../../../protocol/errors.ts';
import { newRequestId } from '../../../protocol/ids.ts';
import { MAX_TIMEOUT_MS } from '../../../protocol/limits.ts';
import type { Services } from '../../services.ts';
import { forwardPreview, upgradePreview } from '../native/preview.ts';

const ADDRESS = /^\/prime\/exposed\/([\w-]{1,1024}\.[\w-]{43})\/([a-z0-9-]{1,64})\/(\d{1,5})(\/[^?]*)?(\?.*)?$/;
const TOKEN_HEADER = 'x-millibox-token';
const MAX_EXPOSED = 10_000;

export interface Exposure {
  id: string;
  tenant: string;
  sandbox: string;
  port: number;
  name: string | null;
  token: string;
  createdAt: string;
}

/** Kept by this gateway, where its addresses lead: each can be taken back at once. */
export class Exposures {
  readonly #byId = new Map<string, Exposure>();
  readonly #tokens = new Map<string, string>();

  /** @throws ServiceError `rate_limited` */
  add(services: Services, about: Pick<Exposure, 'tenant' | 'sandbox' | 'port' | 'name'>): Exposure {
    if (this.#byId.size >= MAX_EXPOSED) throw new ServiceError('rate_limited', 'Too many ports are exposed.');
    const expiresAtMs = Date.now() + MAX_TIMEOUT_MS;
    const token = services.ports.tokens.issue({ ...about, expiresAtMs });
    const made = {
      ...about,
      id: newRequestId().replace('req-', 'exp-'),
      token,
      createdAt: new Date().toISOString(),
    };
    this.#byId.set(made.id, made);
    this.#tokens.set(token, made.id);
    return made;
  }

  /** @throws ServiceError `not_found` */
  remove(tenant: string, sandbox: string, id: string): void {
    const found = this.#byId.get(id);
    if (found === undefined || found.tenant !== tenant || found.sandbox !== sandbox) {
      throw new ServiceError('not_found', 'There is no such exposed port.');
    }
    this.#drop(found);
  }

  /** Of one sandbox, or of all. Those of sandboxes that have ended are dropped. */
  list(services: Services, tenant: string, sandbox: string | null): Exposure[] {
    const found: Exposure[] = [];
    for (const each of this.#byId.values()) {
      if (!isAlive(services, each)) this.#drop(each);
      else if (each.tenant === tenant && (sandbox === null || each.sandbox === sandbox)) found.push(each);
    }
    return found;
  }

  /** Whether an address still stands, as far as this gateway knows. */
  has(token: string): boolean {
    return this.#tokens.has(token);
  }

  #drop({ id, token }: Exposure): void {
    this.#byId.delete(id);
    this.#tokens.delete(token);
  }
}

function isAlive({ sandboxes }: Services, { tenant, sandbox }: Exposure): boolean {
  try {
    return sandboxes.get(tenant, sandbox).endedAt === null;
  } catch {
    return false;
  }
}

export const addressOf = (origin: string, { token, sandbox, port }: Exposure): string =>
  `${origin}/prime/exposed/${token}/${sandbox}/${port}`;

/** Turns a request to an address of ours into one to the preview. False: it is none. */
function rewrite(exposures: Exposures, request: IncomingMessage): boolean {
  const [, token = '', sandbox = '', port = '', path = '', query = ''] = ADDRESS.exec(request.url ?? '') ?? [];
  if (token === '' || !exposures.has(token)) return false;
  request.url = `/v1/sandboxes/${sandbox}/ports/${port}${path}${query}`;
  request.headers[TOKEN_HEADER] = token;
  return true;
}

export function registerExposed(app: FastifyInstance, services: Services, exposures: Exposures): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, payload, done) => done(null, payload));
  const onRequest = async (request: FastifyRequest): Promise<void> => {
    if (!rewrite(exposures, request.raw)) throw new ServiceError('not_found', 'No port is exposed at this address.');
  };
  for (const url of ['/exposed/:token/:id/:port', '/exposed/:token/:id/:port/*']) {
    app.all(url, { onRequest }, (request, reply) => forwardPreview(services, request, reply));
  }
}

/** Takes upgrades to addresses of ours. */
export function upgradeExposed(
  services: Services,
  exposures: Exposures,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): boolean {
  return rewrite(exposures, request) && upgradePreview(services, request, socket, head);
}

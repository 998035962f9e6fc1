/**
 * URLs of ports that are exposed over HTTP. Such a URL cannot be guessed and needs no further credentials: it is a
 * preview with its token in the path, so that clients can append paths to it.
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ServiceError } from '../../../protocol/errors.ts';
import { replaceSentUrl, sentUrl } from '../../http/sent-url.ts';
import type { Services } from '../../services.ts';
import { TOKEN_HEADER } from '../native/preview-access.ts';
import { upgradePreview } from '../native/preview-upgrade.ts';
import { forwardPreview } from '../native/preview.ts';
import type { Exposures } from './exposures.ts';

const ADDRESS = /^\/prime\/exposed\/([\w-]{1,1024}\.[\w-]{43})\/([a-z0-9-]{1,64})\/(\d{1,5})(\/[^?]*)?(\?.*)?$/;
/** What precedes the path of the server inside. */
export const EXPOSED = /^\/prime\/exposed\/[\w.-]+\/[a-z0-9-]{1,64}\/\d{1,5}(?=\/)/;

export function addressOf(
  origin: string,
  { token, sandbox, port }: { token: string; sandbox: string; port: number },
): string {
  return `${origin}/prime/exposed/${token}/${sandbox}/${port}`;
}

/** Rewrites a request to an exposed port into one to its preview. False: the URL is not that of an exposed port. */
function rewrite(exposures: Exposures, request: IncomingMessage): boolean {
  const [, token = '', sandbox = '', port = '', path = '', query = ''] = ADDRESS.exec(sentUrl(request)) ?? [];
  if (token === '' || !exposures.has(token)) return false;
  replaceSentUrl(request, `/v1/sandboxes/${sandbox}/ports/${port}${path}${query}`);
  request.headers[TOKEN_HEADER] = token;
  return true;
}

export function registerExposed(app: FastifyInstance, services: Services, exposures: Exposures): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (_request, payload, done) => done(null, payload));
  const onRequest = async (request: FastifyRequest): Promise<void> => {
    if (!rewrite(exposures, request.raw)) throw new ServiceError('not_found', 'no port is exposed at this address');
  };
  for (const url of ['/exposed/:token/:id/:port', '/exposed/:token/:id/:port/*']) {
    app.all(url, { onRequest }, (request, reply) => forwardPreview(services, request, reply, null));
  }
}

/** Returns true if the upgrade is for an exposed port, and then owns the socket. */
export function upgradeExposed(
  services: Services,
  exposures: Exposures,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): boolean {
  return rewrite(exposures, request) && upgradePreview(services, request, socket, head);
}

/**
 * The API of the Prime sandbox clients: a control plane under `/api/v1`, authenticated by API keys, and a data plane
 * under `/prime`, authenticated by the token of one sandbox. docs/prime.md says what is supported and what is not.
 */
import type { FastifyInstance } from 'fastify';
import { ServiceError } from '../../../protocol/errors.ts';
import { readJsonStrictly } from '../../http/json.ts';
import type { Services } from '../../services.ts';
import type { Door } from '../door.ts';
import { DEFAULT_PRIME_CONFIG } from './config.ts';
import { Sessions } from './connect/sessions.ts';
import { DATA_PREFIX, type PrimeContext } from './context.ts';
import { batchRoutes } from './control/batch-routes.ts';
import { exposeRoutes } from './control/expose-routes.ts';
import { otherRoutes } from './control/other-routes.ts';
import { registerControl } from './control/route.ts';
import { sandboxRoutes } from './control/sandbox-routes.ts';
import { registerConnect, registerData } from './data/routes.ts';
import { createControlErrors } from './errors.ts';
import { EXPOSED, registerExposed, upgradeExposed } from './exposed.ts';
import { Exposures } from './exposures.ts';
import { TcpPorts } from './tcp-ports.ts';
import { Tokens } from './tokens.ts';

export const CONTROL_PREFIX = '/api/v1';

export function createPrimeDoor(): Door {
  const sessions = new Sessions();
  let open: { services: Services; exposures: Exposures } | null = null;
  return {
    name: 'prime',
    foreign: EXPOSED,
    async register(app, services, config) {
      const prime = config.prime ?? DEFAULT_PRIME_CONFIG;
      const tokens = new Tokens(config.nodeSecret, services.ports.tokens.now);
      const context: PrimeContext = { services, config: prime, tokens };
      const tcp = prime.tcpPorts === null ? null : new TcpPorts(config.listen.host, prime.tcpPorts);
      const exposures = new Exposures(services, tcp);
      open = { services, exposures };
      await app.register((control) => registerControlPlane(control, context, exposures), { prefix: CONTROL_PREFIX });
      await app.register(async (exposed) => registerExposed(exposed, services, exposures), { prefix: DATA_PREFIX });
      await app.register((data) => registerData(data, context), { prefix: DATA_PREFIX });
      await app.register(async (connect) => registerConnect(connect, context, sessions, config.resumeMs), {
        prefix: DATA_PREFIX,
      });
    },
    upgrade: (request, socket, head) =>
      open !== null && upgradeExposed(open.services, open.exposures, request, socket, head),
    close() {
      sessions.close();
      open?.exposures.close();
    },
  };
}

async function registerControlPlane(app: FastifyInstance, context: PrimeContext, exposures: Exposures): Promise<void> {
  const { services } = context;
  app.setErrorHandler(createControlErrors(services.log));
  app.setNotFoundHandler((request) => {
    const path = request.url.split('?', 1)[0];
    throw new ServiceError('not_found', `this server has no ${request.method} ${path}: see docs/prime.md`);
  });
  readJsonStrictly(app);
  registerControl(app, services, [
    ...sandboxRoutes(context),
    ...batchRoutes(context),
    ...exposeRoutes(context, exposures),
    ...otherRoutes(context),
  ]);
}

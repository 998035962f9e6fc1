import * as z from 'zod';
import { ServiceError } from '../../../../protocol/errors.ts';
import { check } from '../../../http/route.ts';
import { originOf, type PrimeContext } from '../context.ts';
import { addressOf } from '../exposed.ts';
import type { Exposure, Exposures } from '../exposures.ts';
import type { Answer, ControlCall, ControlRoute } from './route.ts';
import { idOf } from './sandbox-routes.ts';

const Expose = z.object({
  port: z.int().min(1).max(65_535),
  name: z.string().max(128).nullish(),
  protocol: z
    .string()
    .default('HTTP')
    .transform((text) => text.toUpperCase())
    .pipe(z.enum(['HTTP', 'TCP'])),
});

export function exposeRoutes(context: PrimeContext, exposures: Exposures): ControlRoute[] {
  const { config } = context;
  const { sandboxes } = context.services;
  const view = (exposure: Exposure, { request }: ControlCall): Answer => {
    const origin = originOf(request, config);
    const { hostname, port, protocol } = addressIn(origin);
    const common = {
      exposure_id: exposure.id,
      sandbox_id: exposure.sandbox,
      port: exposure.port,
      name: exposure.name,
      created_at: exposure.createdAt,
    };
    const { tcp, token } = exposure;
    if (tcp !== null) {
      const endpoint = `${config.tcpHost ?? hostname}:${tcp.port}`;
      return {
        ...common,
        protocol: 'TCP',
        url: `tcp://${endpoint}`,
        tls_socket: endpoint,
        external_port: tcp.port,
        external_endpoint: endpoint,
      };
    }
    return {
      ...common,
      protocol: 'HTTP',
      url: addressOf(origin, { ...exposure, token: token ?? '' }),
      tls_socket: `${hostname}:${port || (protocol === 'https:' ? 443 : 80)}`,
      external_port: null,
      external_endpoint: null,
    };
  };
  const list = (call: ControlCall, sandbox: string | null): Answer => ({
    exposures: exposures.list(call.tenant, sandbox).map((each) => view(each, call)),
  });
  return [
    ['GET', '/sandbox/expose/all', (call) => list(call, null), { overview: true }],
    ['GET', '/sandbox/:id/expose', (call) => list(call, sandboxes.get(call.tenant, idOf(call.params)).id)],
    [
      'POST',
      '/sandbox/:id/expose',
      async (call) => {
        const { id } = sandboxes.get(call.tenant, idOf(call.params));
        const { port, name, protocol } = check(Expose, call.body, 'body');
        const asked = { tenant: call.tenant, sandbox: id, port, name: name ?? null };
        return view(await exposures.add(asked, protocol), call);
      },
    ],
    [
      'DELETE',
      '/sandbox/:id/expose/:exposure',
      ({ tenant, params }) => {
        exposures.remove(tenant, idOf(params), params['exposure'] ?? '');
        return { success: true };
      },
    ],
  ];
}

/** @throws ServiceError `invalid_request` when the client's Host header is not a valid host. */
function addressIn(origin: string): URL {
  const url = URL.parse(origin);
  if (url === null) throw new ServiceError('invalid_request', 'the Host header is not valid');
  return url;
}

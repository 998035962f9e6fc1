import * as z from 'zod';
import { ServiceError } from '../../../../protocol/errors.ts';
import { check } from '../../../http/route.ts';
import { originOf, type PrimeContext } from '../context.ts';
import { addressOf, type Exposure, type Exposures } from '../exposed.ts';
import type { Answer, ControlCall, ControlRoute } from './route.ts';
import { idOf } from './sandbox-routes.ts';

const Expose = z.object({
  port: z.int().min(1).max(65_535),
  name: z.string().max(128).nullish(),
  protocol: z.string().default('HTTP'),
});

export function exposeRoutes(context: PrimeContext, exposures: Exposures): ControlRoute[] {
  const { services, config } = context;
  const { sandboxes } = services;
  const view = (exposure: Exposure, { request }: ControlCall): Answer => {
    const origin = originOf(request, config);
    const { host, port, protocol } = new URL(origin);
    const endpoint = port === '' ? `${host}:${protocol === 'https:' ? 443 : 80}` : host;
    return {
      exposure_id: exposure.id,
      sandbox_id: exposure.sandbox,
      port: exposure.port,
      name: exposure.name,
      url: addressOf(origin, exposure),
      tls_socket: endpoint,
      protocol: 'HTTP',
      external_port: null,
      external_endpoint: null,
      created_at: exposure.createdAt,
    };
  };
  const list = (call: ControlCall, sandbox: string | null): Answer => ({
    exposures: exposures.list(services, call.tenant, sandbox).map((each) => view(each, call)),
  });
  return [
    ['GET', '/sandbox/expose/all', (call) => list(call, null)],
    ['GET', '/sandbox/:id/expose', (call) => list(call, sandboxes.get(call.tenant, idOf(call.params)).id)],
    [
      'POST',
      '/sandbox/:id/expose',
      (call) => {
        const { id } = sandboxes.get(call.tenant, idOf(call.params));
        const { port, name, protocol } = check(Expose, call.body, 'body');
        if (protocol.toUpperCase() !== 'HTTP') {
          throw new ServiceError('not_supported', 'This server exposes ports for HTTP and WebSocket only.');
        }
        return view(exposures.add(services, { tenant: call.tenant, sandbox: id, port, name: name ?? null }), call);
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

import * as z from 'zod';
import { route, type Route } from '../../http/route.ts';
import type { Services } from '../../services.ts';

const bound = z.number().nullable();
const TenantView = z.object({
  tenant: z.string(),
  admin: z.boolean(),
  limits: z
    .object({
      sandboxes: bound,
      cpus: bound,
      memoryMb: bound,
      createsPerSecond: bound,
      createBurst: bound,
      execs: bound,
    })
    .describe('Null: no limit'),
  weight: z.int(),
  used: z.object({
    sandboxes: z.int().describe('Live sandboxes, including queued ones'),
    cpus: z.number(),
    memoryMb: z.number(),
    execs: z.int().describe('Commands in flight at this gateway'),
  }),
});

export function tenantRoutes({ sandboxes, tenancy }: Services): Route[] {
  return [
    route(
      {
        method: 'GET',
        url: '/v1/tenant',
        id: 'getTenant',
        summary: "The key's tenant: its limits and its usage",
        overview: true,
        answers: { 200: { description: 'The tenant', schema: TenantView } },
      },
      ({ caller: { tenant, admin } }) => {
        const { weight, ...limits } = tenancy.tenants.of(tenant);
        const execs = tenancy.admission.running.get(tenant) ?? 0;
        return { tenant, admin, limits, weight, used: { ...sandboxes.usage(tenant), execs } };
      },
    ),
  ];
}

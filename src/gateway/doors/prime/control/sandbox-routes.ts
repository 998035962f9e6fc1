import * as z from 'zod';
import { ServiceError } from '../../../../protocol/errors.ts';
import type { Sandbox } from '../../../../protocol/sandbox.ts';
import { check } from '../../../http/route.ts';
import type { Services } from '../../../services.ts';
import type { SandboxFilter } from '../../../sandboxes/service.ts';
import { DATA_PREFIX, NAMESPACE, originOf, type PrimeContext } from '../context.ts';
import { teamLabel } from '../labels.ts';
import { errorTypeOf, isVm, toPrime } from '../view.ts';
import { CreateBody, maybe, toCreateRequest } from './create.ts';
import { readLogs } from './logs.ts';
import { valuesOf, type ControlCall, type ControlRoute } from './route.ts';

const MAX_PAGE = 1_000;
const ALIVE = ['PENDING', 'PROVISIONING', 'RUNNING'] as const;

const BulkDelete = z.object({
  sandbox_ids: maybe(z.array(z.string().max(128)).max(10_000)),
  labels: maybe(z.array(z.string().max(128)).max(48)),
  team_id: maybe(z.string().max(200)),
});

export function sandboxRoutes({ services, config, tokens }: PrimeContext): ControlRoute[] {
  const { sandboxes } = services;
  const running = async (tenant: string, id: string, waitMs: number): Promise<Sandbox> =>
    sandboxes.wait(tenant, id, { waitMs });
  return [
    [
      'POST',
      '/sandbox',
      async ({ tenant, body, reply }) => {
        const asked = check(CreateBody, body, 'body');
        const request = toCreateRequest(asked, config);
        const [made] = await sandboxes.create(tenant, request, asked.idempotency_key ?? undefined);
        if (made === undefined) throw new ServiceError('internal');
        reply.code(201);
        return toPrime(await running(tenant, made.id, config.holdCreateMs));
      },
      { bursts: true },
    ],
    ['GET', '/sandbox', (call) => page(services, call), { overview: true }],
    ['DELETE', '/sandbox', ({ tenant, body }) => deleteMany(services, tenant, check(BulkDelete, body, 'body'))],
    [
      'GET',
      '/sandbox/:id',
      async ({ tenant, params }) => toPrime(await running(tenant, idOf(params), config.holdStatusMs)),
    ],
    [
      'DELETE',
      '/sandbox/:id',
      async ({ tenant, params }) => toPrime(await sandboxes.delete(tenant, idOf(params))),
      { bursts: true },
    ],
    [
      'GET',
      '/sandbox/:id/logs',
      async ({ tenant, params }) => ({ logs: await readLogs(services, tenant, idOf(params)) }),
    ],
    [
      'GET',
      '/sandbox/:id/error-context',
      ({ tenant, params }) => {
        const sandbox = sandboxes.get(tenant, idOf(params));
        return { status: sandbox.status, errorType: errorTypeOf(sandbox), errorMessage: sandbox.message };
      },
    ],
    [
      'POST',
      '/sandbox/:id/auth',
      ({ tenant, params, request }) => {
        // Also issued for an ended sandbox: the data plane then reports the end in the form that clients know.
        const sandbox = sandboxes.get(tenant, idOf(params));
        const expiresAtMs = tokens.now() + config.tokenTtlMs;
        return {
          token: tokens.issue({ tenant, sandbox: sandbox.id, expiresAtMs }),
          gateway_url: `${originOf(request, config)}${DATA_PREFIX}`,
          user_ns: NAMESPACE,
          job_id: sandbox.id,
          expires_at: new Date(expiresAtMs).toISOString(),
          is_vm: isVm(sandbox),
        };
      },
    ],
  ];
}

export const idOf = (params: Record<string, string>): string => params['id'] ?? '';

/** Numbered pages, newest first: a sandbox created during paging is shown twice rather than not at all. */
function page(services: Services, { tenant, query }: ControlCall): Record<string, unknown> {
  const number = integerOf(query['page'], 1, 1_000_000, 1);
  const size = integerOf(query['per_page'], 1, MAX_PAGE, 50);
  const status = valuesOf(query['status']);
  const filter: SandboxFilter = {
    labels: labelsOf(valuesOf(query['labels']), valuesOf(query['team_id'])[0]),
    ...(valuesOf(query['is_active'])[0] === 'true' ? { status: ALIVE } : {}),
  };
  const all = matching(services, tenant, filter).filter((each) => status.length === 0 || status.includes(each.status));
  all.reverse();
  const end = number * size;
  return {
    sandboxes: all.slice(end - size, end).map(toPrime),
    total: all.length,
    page: number,
    perPage: size,
    hasNext: all.length > end,
  };
}

function labelsOf(words: readonly string[], team: string | undefined): Record<string, string> {
  const labels = Object.fromEntries(words.map((word) => [word, '']));
  return team === undefined || team === '' ? labels : { ...labels, ...teamLabel(team) };
}

/** All matching sandboxes, oldest first. */
function matching(services: Services, tenant: string, filter: SandboxFilter): Sandbox[] {
  const found: Sandbox[] = [];
  let cursor: string | undefined;
  do {
    const next = services.sandboxes.list(tenant, filter, { cursor, limit: MAX_PAGE });
    found.push(...next.sandboxes);
    cursor = next.nextCursor ?? undefined;
  } while (cursor !== undefined);
  return found;
}

async function deleteMany(
  services: Services,
  tenant: string,
  { sandbox_ids: ids, labels, team_id: team }: z.infer<typeof BulkDelete>,
): Promise<Record<string, unknown>> {
  if ((ids ?? []).length === 0 && (labels ?? []).length === 0) {
    throw new ServiceError('invalid_request', 'no sandboxes are named: give sandbox_ids or labels');
  }
  const chosen = new Set(ids ?? []);
  if ((labels ?? []).length > 0) {
    const filter = { labels: labelsOf(labels ?? [], team), status: ALIVE };
    for (const sandbox of matching(services, tenant, filter)) chosen.add(sandbox.id);
  }
  const succeeded: string[] = [];
  const failed: Record<string, string>[] = [];
  await Promise.all(
    [...chosen].map(async (id) => {
      try {
        await services.sandboxes.delete(tenant, id);
        succeeded.push(id);
      } catch (thrown) {
        failed.push({ sandbox_id: id, error: ServiceError.from(thrown).message });
      }
    }),
  );
  return { succeeded, failed, message: `${succeeded.length} deleted, ${failed.length} failed` };
}

function integerOf(value: string | string[] | undefined, min: number, max: number, otherwise: number): number {
  const [text] = valuesOf(value);
  if (text === undefined) return otherwise;
  const number = Number(text);
  if (!Number.isInteger(number) || number < min) throw new ServiceError('invalid_request', 'not a page number or size');
  return Math.min(max, number);
}

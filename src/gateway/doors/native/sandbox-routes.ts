import * as z from 'zod';
import { ServiceError } from '../../../protocol/errors.ts';
import { MAX_PAGE, MAX_TIMEOUT_MS } from '../../../protocol/limits.ts';
import { CreateSandboxRequest, Sandbox, SandboxStatus } from '../../../protocol/sandbox.ts';
import { many, queryInt, route, type Route } from '../../http/route.ts';
import type { Services } from '../../services.ts';

/** The longest time an answer is held back. */
const MAX_WAIT_MS = 600_000;
export const waitMs = queryInt(0, MAX_WAIT_MS).optional();
export const SandboxPath = z.strictObject({ id: z.string().max(128) });

const LabelQuery = many(
  z
    .string()
    .max(400)
    .regex(/^[^=]+=/, 'a label filter is key=value'),
);
const ListQuery = z.strictObject({
  label: LabelQuery.describe('key=value; more than one: all of them'),
  status: many(z.string().max(200)).describe('One, or several separated by commas'),
  name: z.string().max(128).optional(),
  cursor: z.string().max(512).optional(),
  limit: queryInt(1, MAX_PAGE).optional(),
});
const DeleteQuery = z.strictObject({ label: LabelQuery });
const ExtendBody = z.strictObject({ timeoutMs: z.int().min(1).max(MAX_TIMEOUT_MS).describe('From now') });

const SandboxList = z.object({ sandboxes: z.array(Sandbox), nextCursor: z.string().nullable() });
const Created = z.union([Sandbox, z.object({ sandboxes: z.array(Sandbox) })]);

export function sandboxRoutes({ sandboxes }: Services): Route[] {
  return [
    route(
      {
        method: 'POST',
        url: '/v1/sandboxes',
        id: 'createSandbox',
        summary: 'Create a sandbox. Answers at once, before it runs; with waitMs, once it runs or has ended',
        query: z.strictObject({ waitMs }),
        waits: true,
        body: CreateSandboxRequest,
        idempotent: true,
        bursts: true,
        answers: { 201: { description: 'The sandbox or, with count, { sandboxes }', schema: Created } },
      },
      async ({ tenant, query, body, idempotencyKey, signal, reply }) => {
        const made = await sandboxes.create(tenant, body, idempotencyKey);
        const options = { waitMs: query.waitMs ?? 0, signal };
        const shown = await Promise.all(made.map(({ id }) => sandboxes.wait(tenant, id, options)));
        reply.code(201);
        return body.count === undefined ? shown[0] : { sandboxes: shown };
      },
    ),
    route(
      {
        method: 'GET',
        url: '/v1/sandboxes',
        id: 'listSandboxes',
        summary: 'Sandboxes, oldest first, including those that ended within the last hour',
        overview: true,
        query: ListQuery,
        answers: { 200: { description: 'A page', schema: SandboxList } },
      },
      ({ tenant, query }) =>
        sandboxes.list(
          tenant,
          { labels: labelsOf(query.label), status: statusOf(query.status), name: query.name },
          { cursor: query.cursor, limit: query.limit },
        ),
    ),
    route(
      {
        method: 'GET',
        url: '/v1/sandboxes/:id',
        id: 'getSandbox',
        summary: 'One sandbox; with waitMs, once it runs or has ended',
        params: SandboxPath,
        query: z.strictObject({ waitMs }),
        waits: true,
        answers: { 200: { description: 'The sandbox', schema: Sandbox } },
      },
      ({ tenant, params, query, signal }) => sandboxes.wait(tenant, params.id, { waitMs: query.waitMs ?? 0, signal }),
    ),
    route(
      {
        method: 'DELETE',
        url: '/v1/sandboxes/:id',
        id: 'deleteSandbox',
        summary: 'End a sandbox. Wins over a create that is still in progress',
        params: SandboxPath,
        bursts: true,
        answers: { 200: { description: 'The ended sandbox', schema: Sandbox } },
      },
      ({ tenant, params }) => sandboxes.delete(tenant, params.id),
    ),
    route(
      {
        method: 'DELETE',
        url: '/v1/sandboxes',
        id: 'deleteSandboxes',
        summary: 'End all sandboxes that have these labels',
        query: DeleteQuery,
        answers: { 200: { description: 'How many were deleted', schema: z.object({ deleted: z.int() }) } },
      },
      async ({ tenant, query }) => {
        const labels = labelsOf(query.label);
        // Without a filter this would end everything: a slip must not do that.
        if (labels === undefined) throw new ServiceError('invalid_request', 'query.label: give at least one label');
        return { deleted: await sandboxes.deleteWhere(tenant, { labels }) };
      },
    ),
    route(
      {
        method: 'POST',
        url: '/v1/sandboxes/:id/extend',
        id: 'extendSandbox',
        summary: 'Set the remaining lifetime of a sandbox',
        params: SandboxPath,
        body: ExtendBody,
        answers: { 200: { description: 'The sandbox', schema: Sandbox } },
      },
      ({ tenant, params, body }) => sandboxes.extend(tenant, params.id, body.timeoutMs),
    ),
    route(
      {
        method: 'POST',
        url: '/v1/sandboxes/:id/keepalive',
        id: 'keepSandboxAlive',
        summary: 'Restart the idle timeout',
        params: SandboxPath,
        answers: { 200: { description: 'The sandbox', schema: Sandbox } },
      },
      ({ tenant, params }) => sandboxes.keepAlive(tenant, params.id),
    ),
  ];
}

/**
 * @throws ServiceError `invalid_request` for two values of one label: no sandbox has both, and the last must not win.
 */
function labelsOf(label: string | string[] | undefined): Record<string, string> | undefined {
  if (label === undefined) return undefined;
  const labels = new Map<string, string>();
  for (const text of [label].flat()) {
    const at = text.indexOf('=');
    const [key, value] = [text.slice(0, at), text.slice(at + 1)];
    if ((labels.get(key) ?? value) !== value) {
      throw new ServiceError('invalid_request', `query.label: ${JSON.stringify(key)} cannot have two values`);
    }
    labels.set(key, value);
  }
  return Object.fromEntries(labels);
}

function statusOf(text: string | string[] | undefined): SandboxStatus[] | undefined {
  if (text === undefined) return undefined;
  const parsed = z.array(SandboxStatus).safeParse([text].flat().flatMap((part) => part.split(',')));
  if (!parsed.success)
    throw new ServiceError('invalid_request', `query.status: one of ${SandboxStatus.options.join(', ')}`);
  return parsed.data;
}

import * as z from 'zod';
import { ExecList, ExecRequest, ExecResult, ExecState, SignalName } from '../../../protocol/exec.ts';
import { ID_PATTERN } from '../../../protocol/ids.ts';
import { MAX_MAX_OUTPUT_BYTES } from '../../../protocol/limits.ts';
import { many, queryInt, route, type Route } from '../../http/route.ts';
import type { Services } from '../../services.ts';
import { SandboxPath, waitMs } from './sandbox-routes.ts';

const ExecId = z.string().regex(ID_PATTERN, 'not an exec id');
const ExecPath = z.strictObject({ id: z.string().max(128), execId: ExecId });
const OFFSET = Number.MAX_SAFE_INTEGER;
const OutputQuery = z.strictObject({
  channel: z.enum(['stdout', 'stderr']).default('stdout'),
  offset: queryInt(-OFFSET, OFFSET).optional().describe('Negative: from the end'),
  length: queryInt(0, MAX_MAX_OUTPUT_BYTES).optional(),
  waitMs,
});
const SignalBody = z.strictObject({ signal: SignalName.default('TERM'), all: z.boolean().optional() });
const Started = z.object({ execId: z.string() });

export function execRoutes({ execs }: Services): Route[] {
  return [
    route(
      {
        method: 'POST',
        url: '/v1/sandboxes/:id/exec',
        id: 'exec',
        summary: 'Run a command and wait for its end or, with background, only start it',
        params: SandboxPath,
        body: ExecRequest,
        idempotent: true,
        answers: {
          200: { description: 'The result; with background, only its id', schema: z.union([ExecResult, Started]) },
        },
      },
      ({ tenant, params, body, idempotencyKey, signal }) => {
        const options = { idempotencyKey, signal };
        return body.background
          ? execs.start(tenant, params.id, body, options)
          : execs.run(tenant, params.id, body, options);
      },
    ),
    route(
      {
        method: 'GET',
        url: '/v1/sandboxes/:id/execs',
        id: 'listExecs',
        summary: 'Commands that are running, and ended ones that are still kept',
        params: SandboxPath,
        query: z.strictObject({ id: many(ExecId).describe('Only these, and how they ended; 100 at most') }),
        answers: { 200: { description: 'The commands', schema: ExecList } },
      },
      async ({ tenant, params, query, signal }) => {
        const ids = query.id === undefined ? undefined : [query.id].flat();
        return await execs.list(tenant, params.id, { ids, signal });
      },
    ),
    route(
      {
        method: 'GET',
        url: '/v1/sandboxes/:id/execs/:execId',
        id: 'getExec',
        summary: 'One command; with waitMs, once it has ended',
        params: ExecPath,
        query: z.strictObject({ waitMs }),
        waits: true,
        answers: { 200: { description: 'The command', schema: ExecState } },
      },
      ({ tenant, params, query, signal }) =>
        execs.get(tenant, params.id, params.execId, { waitMs: query.waitMs ?? 0, signal }),
    ),
    route(
      {
        method: 'GET',
        url: '/v1/sandboxes/:id/execs/:execId/output',
        id: 'getExecOutput',
        summary:
          'A window of the output of a background command, or of one that has ended; with waitMs, waits for more at its end',
        params: ExecPath,
        query: OutputQuery,
        waits: true,
        answers: {
          200: { description: 'Bytes; headers give their position', contentType: 'application/octet-stream' },
        },
      },
      async ({ tenant, params, query, reply, signal }) => {
        const { channel, offset: from = 0, length, waitMs } = query;
        const window = { channel, offset: from, length, waitMs };
        const { bytes, offset, total } = await execs.output(tenant, params.id, params.execId, window, signal);
        return reply
          .header('x-millibox-offset', String(offset))
          .header('x-millibox-total', String(total))
          .type('application/octet-stream')
          .send(bytes);
      },
    ),
    route(
      {
        method: 'POST',
        url: '/v1/sandboxes/:id/execs/:execId/signal',
        id: 'signalExec',
        summary: "Send a signal to a command's process group or, with all, to everything it started",
        params: ExecPath,
        body: SignalBody,
        answers: { 200: { description: 'Sent', schema: z.object({}) } },
      },
      async ({ tenant, params, body, signal }) => {
        await execs.signal(tenant, params.id, params.execId, body, signal);
        return {};
      },
    ),
  ];
}

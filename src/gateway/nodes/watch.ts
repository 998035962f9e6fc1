/** Validates what a node sends on its `watch` stream: an agent may be of another version, or lie. */
import * as z from 'zod';
import { ServiceError } from '../../protocol/errors.ts';
import { NodeReport, SandboxRecord, type WatchEvent } from '../../protocol/node.ts';
import type { Json } from '../../mux/index.ts';

/** Limit for one node's snapshot, over all its messages. */
export const MAX_SNAPSHOT_RECORDS = 200_000;

const Event = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('snapshot'),
    node: NodeReport,
    sandboxes: z.array(SandboxRecord).max(MAX_SNAPSHOT_RECORDS),
    more: z.boolean(),
  }),
  z.object({ type: z.literal('sandbox'), sandbox: SandboxRecord }),
  z.object({ type: z.literal('forgotten'), ids: z.array(z.string().max(128)).max(MAX_SNAPSHOT_RECORDS) }),
  z.object({ type: z.literal('node'), node: NodeReport }),
]);

const TYPES: ReadonlySet<unknown> = new Set(Event.options.map(({ shape }) => shape.type.value));

/** A type that only newer agents know is `unknown`. @throws ServiceError `protocol_error` */
export function parseWatchEvent(message: Json): WatchEvent {
  const { type } = message;
  if (typeof type === 'string' && !TYPES.has(type)) return { type: 'unknown' };
  const parsed = Event.safeParse(message);
  if (parsed.success) return parsed.data;
  const where = parsed.error.issues[0]?.path.join('.') ?? '';
  throw new ServiceError('protocol_error', `the agent sent a watch event that cannot be read (${where})`);
}

/** @throws ServiceError `protocol_error` */
export function parseRecord(message: unknown, id: string): SandboxRecord {
  const parsed = SandboxRecord.safeParse(message);
  if (parsed.success && parsed.data.id === id) return parsed.data;
  throw new ServiceError('protocol_error', 'the agent answered with a record that cannot be read');
}

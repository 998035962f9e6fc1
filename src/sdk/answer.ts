/**
 * Parsing of the service's answers. A newer service may use enum values that this SDK does not know: they are passed on
 * unchanged. An answer of another shape is a `protocol_error`.
 */
import * as z from 'zod';
import { firstProblem } from '../lib/schema-problems.ts';
import { ServiceError } from '../protocol/errors.ts';
import { EndReason, Network, Sandbox, SandboxStatus, isEnded } from '../protocol/sandbox.ts';

/** A known value or a newer one. Editors still suggest the known ones. */
type Open<T extends string> = T | (string & {});

function open<T extends string>(known: z.ZodType<T>): z.ZodType<Open<T>> {
  return z.union([known, z.string()]);
}

export const SandboxInfo = Sandbox.extend({
  status: open(SandboxStatus),
  reason: open(EndReason).nullable(),
  network: open(Network),
});
export type SandboxInfo = z.infer<typeof SandboxInfo>;

/** Whether the sandbox has ended, for whatever reason. */
export const hasEnded = (info: SandboxInfo): boolean => isEnded(info.status as SandboxStatus) || info.endedAt !== null;

/** @throws ServiceError `protocol_error` */
export function read<T>(schema: z.ZodType<T>, answer: unknown): T {
  const parsed = schema.safeParse(answer);
  if (parsed.success) return parsed.data;
  const why = `the service gave a malformed answer: ${firstProblem(parsed.error)}`;
  throw new ServiceError('protocol_error', why, { cause: parsed.error });
}

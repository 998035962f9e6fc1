/**
 * Answers of the service, read. A newer one may say words that this SDK has not learnt: they are handed on as they are;
 * what has another shape is a `protocol_error`.
 */
import * as z from 'zod';
import { firstProblem } from '../lib/schema-problems.ts';
import { ServiceError } from '../protocol/errors.ts';
import { EndReason, Network, Sandbox, SandboxStatus, isEnded } from '../protocol/sandbox.ts';

/** A word, one that is known or a newer one. Editors still offer the known ones. */
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

/** Whether it is over, in whatever way. */
export const hasEnded = (info: SandboxInfo): boolean => isEnded(info.status as SandboxStatus) || info.endedAt !== null;

/** @throws ServiceError `protocol_error` */
export function read<T>(schema: z.ZodType<T>, answer: unknown): T {
  const parsed = schema.safeParse(answer);
  if (parsed.success) return parsed.data;
  const why = `the service gave an answer that cannot be read: ${firstProblem(parsed.error)}`;
  throw new ServiceError('protocol_error', why, { cause: parsed.error });
}

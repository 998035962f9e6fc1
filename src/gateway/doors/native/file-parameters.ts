/** Parameters that several file routes take. */
import * as z from 'zod';
import { Mode, ModifiedAtMs, Owner as AnyOwner, Path } from '../../../protocol/files.ts';

export const FILES_URL = '/v1/sandboxes/:id/files';
export const PathQuery = z.strictObject({ path: Path });
export const Owner = AnyOwner.describe('name, uid, name:group or uid:gid');
/** As the `chmod` command takes it. */
export const OctalMode = z
  .string()
  .regex(/^0?[0-7]{1,4}$/, 'not an octal mode')
  .transform((text) => parseInt(text, 8))
  .describe('Octal, such as 0644');
export const TimeMs = z
  .string()
  .regex(/^-?\d{1,16}(\.\d{1,9})?$/, 'not a time in milliseconds')
  .transform(Number)
  .pipe(ModifiedAtMs)
  .describe('Milliseconds since 1970, as modifiedAtMs in answers');
/** In JSON: a number, as in answers, or octal text, as in a query. */
export const AnyMode = z.union([Mode, OctalMode]);
/** The answer of a call without a result. */
export const NOTHING = z.object({});

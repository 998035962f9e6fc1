/** Maps from names chosen by users to texts. `z.record` silently drops one name, `__proto__`. */
import * as z from 'zod';

const PROTO = '__proto__';

/** As `z.record(name, value)`, for every name: each becomes an own property of the map. */
export function stringMap(name: z.ZodString, value: z.ZodString) {
  const others = z.record(name, value);
  const { $schema: _dialect, ...schema } = z.toJSONSchema(others);
  const described = z.unknown().meta(schema);
  return described.transform((input, context): Record<string, string> => {
    const parsed = others.safeParse(input);
    if (!parsed.success) {
      context.issues.push(...parsed.error.issues.map((issue) => ({ ...issue, input }) as z.core.$ZodRawIssue));
      return z.NEVER;
    }
    if (!Object.hasOwn(input as object, PROTO)) return parsed.data;
    const text = value.safeParse(Object.entries(input as object).find(([key]) => key === PROTO)?.[1]);
    if (!name.safeParse(PROTO).success || !text.success) {
      context.addIssue({ code: 'custom', message: 'not a valid name or value', path: [PROTO] });
      return z.NEVER;
    }
    return { ...parsed.data, [PROTO]: text.data };
  });
}

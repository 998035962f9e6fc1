/** The settings of the sandboxes' network: what is no address is found at the start, not by a sandbox. */
import { isIPv4 } from 'node:net';
import * as z from 'zod';
import { words } from '../src/lib/env-schema.ts';
import { parseRange } from './runtime/oci/network/ranges.ts';

/** Sandboxes have no IPv6, and resolv.conf takes neither names nor ports. */
const Resolver = z.string().refine(isIPv4, {
  error: ({ input }) => `${JSON.stringify(input)} is not the IPv4 address of a name server`,
});

export const Resolvers = z.string().default('').transform(words).pipe(z.array(Resolver));

export const Subnet = z.string().superRefine((text, context) => {
  try {
    parseRange(text);
  } catch (error) {
    context.addIssue({ code: 'custom', message: (error as Error).message });
  }
});

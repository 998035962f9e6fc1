/** The settings that name images and registries: what is no name is found at the start, not at a create or a pull. */
import * as z from 'zod';
import { words } from '../src/lib/env-schema.ts';
import { readIfThereSync } from '../src/lib/whole-file.ts';
import { parseImageReference } from '../src/protocol/image-reference.ts';

const SHOWN_CHARS = 200;
const quoted = (value: unknown): string => JSON.stringify(String(value).slice(0, SHOWN_CHARS));

const noReference = (value: unknown): string =>
  `${quoted(value)} is not an image reference: write it as python:3.12-slim or ghcr.io/org/name:1.2`;
const noRegistry = (value: unknown): string =>
  `${quoted(value)} is not a registry: write it as ghcr.io or registry.local:5000, without https://`;

export const ImageName = z
  .string()
  .refine((text) => parseImageReference(text) !== undefined, { error: ({ input }) => noReference(input) });

/** Whether references can name this registry. `index.docker.io` is none: they mean `docker.io` by it. */
const isRegistry = (text: string): boolean => parseImageReference(`${text}/org/name`)?.registry === text;

/** The place of an image may also be below a registry. */
const isPlace = (text: string): boolean =>
  isRegistry(text.split('/', 1)[0] ?? '') && parseImageReference(`${text}/name`) !== undefined;

const Registry = z.string().refine(isRegistry, { error: ({ input }) => noRegistry(input) });

export const Registries = z.string().default('').transform(words).pipe(z.array(Registry));

export const Mirrors = z
  .string()
  .regex(/^([^=,\s]+=[^=,\s]+(,|$))*$/, 'write it as docker.io=mirror.local:5000,ghcr.io=mirror.local:5001')
  .default('')
  .transform((text): Record<string, string> =>
    Object.fromEntries(
      text
        .split(',')
        .filter((pair) => pair !== '')
        .map((pair) => pair.split('=') as [string, string]),
    ),
  )
  .pipe(z.record(Registry, z.string().refine(isPlace, { error: ({ input }) => noRegistry(input) })));

/**
 * Reference → the archive to import it from. The file holds a line for each, in turn; without the file there are none.
 * @throws Error that names the variable.
 */
export function readBaseImages(file: string): Record<string, string> {
  const lines = readLines(file);
  const archives: Record<string, string> = {};
  for (let i = 0; i + 1 < lines.length; i += 2) {
    const [ref, archive] = [lines[i], lines[i + 1]];
    if (!ref || !archive) continue;
    if (parseImageReference(ref)?.digest !== null) {
      throw new Error(`MILLIBOX_BASE_IMAGE_FILE: line ${i + 1} of ${file}: ${noReference(ref)}`);
    }
    archives[ref] = archive;
  }
  return archives;
}

function readLines(file: string): string[] {
  try {
    return (readIfThereSync(file) ?? '').split('\n');
  } catch (error) {
    throw new Error(`MILLIBOX_BASE_IMAGE_FILE cannot be read: ${(error as Error).message}`, { cause: error });
  }
}

/** What is wrong with a file of credentials, in words that hold no secret: the file is the node's, its reader is not. */
import { readFile } from 'node:fs/promises';
import * as z from 'zod';

const READ_ERRORS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'the agent may not read it',
  EISDIR: 'it is a directory',
};
const Config = z.object({ auths: z.record(z.string(), z.object({ auth: z.string().optional() })).optional() });
const MAX_NAME_CHARS = 100;

/** Undefined: nothing that shows in the file itself. */
export async function faultOfCredentials(file: string): Promise<string | undefined> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => error);
  if (typeof text !== 'string') return READ_ERRORS[text.code ?? ''] ?? `reading it fails with ${text.code}`;
  if (text.trim() === '') return 'it is empty';
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // The parser's own words quote the text, and with it passwords.
    return 'it is not valid JSON';
  }
  const config = Config.safeParse(json);
  if (!config.success) return `it is not a Docker config.json: ${placeOf(config.error)} has the wrong form`;
  for (const [registry, { auth }] of Object.entries(config.data.auths ?? {})) {
    if (auth !== undefined && auth !== '' && !isPair(auth)) {
      return `the "auth" of ${registry.slice(0, MAX_NAME_CHARS)} is not NAME:PASSWORD in base64`;
    }
  }
  return undefined;
}

function placeOf(error: z.ZodError): string {
  const place = error.issues[0]?.path.map(String).join('.') ?? '';
  return place === '' ? 'the whole' : place.slice(0, MAX_NAME_CHARS);
}

function isPair(auth: string): boolean {
  return /^[A-Za-z0-9+/]+={0,2}$/.test(auth) && Buffer.from(auth, 'base64').includes(':');
}

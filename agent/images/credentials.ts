/** Describes what is wrong with a credentials file, without revealing any secret. */
import { readFile } from 'node:fs/promises';
import * as z from 'zod';

const READ_ERRORS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'the agent may not read it',
  EISDIR: 'it is a directory',
};
const Config = z.object({ auths: z.record(z.string(), z.object({ auth: z.string().optional() })).optional() });
const MAX_NAME_CHARS = 100;

/** The fault in the entries for `registry`, or in the file itself. Undefined: the file shows no fault. */
export async function faultOfCredentials(file: string, registry: string): Promise<string | undefined> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => error);
  if (typeof text !== 'string') return READ_ERRORS[text.code ?? ''] ?? `reading it fails with ${text.code}`;
  if (text.trim() === '') return 'it is empty';
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // The parser's message quotes the text, passwords included.
    return 'it is not valid JSON';
  }
  const config = Config.safeParse(json);
  if (!config.success) return `it is not a Docker config.json: ${placeOf(config.error)} has the wrong form`;
  for (const [key, { auth }] of Object.entries(config.data.auths ?? {})) {
    if (hostOf(key) === registry && auth !== undefined && auth !== '' && !isPair(auth)) {
      return `the "auth" of ${key.slice(0, MAX_NAME_CHARS)} is not NAME:PASSWORD in base64`;
    }
  }
  return undefined;
}

/** A key may be a URL, and may continue with a repository path. */
function hostOf(key: string): string {
  const host = key.replace(/^https?:\/\//, '').split('/')[0] ?? '';
  return host === 'index.docker.io' ? 'docker.io' : host;
}

function placeOf(error: z.ZodError): string {
  const place = error.issues[0]?.path.map(String).join('.') ?? '';
  return place === '' ? 'the whole' : place.slice(0, MAX_NAME_CHARS);
}

function isPair(auth: string): boolean {
  return /^[A-Za-z0-9+/]+={0,2}$/.test(auth) && Buffer.from(auth, 'base64').includes(':');
}

/** The only place where the CLI reads the environment. */
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { GATEWAY_PORT } from '../protocol/client.ts';
import { readKey } from '../sdk/config.ts';
import { upFile } from './up/up-file.ts';

const env = (name: string): string | undefined => {
  const value = process.env[name];
  return value === undefined || value === '' ? undefined : value;
};

/** Where `millibox up` keeps its keys, its records and its logs. */
export function home(): string {
  return env('MILLIBOX_HOME') ?? (process.getuid?.() === 0 ? '/var/lib/millibox' : join(homedir(), '.millibox'));
}

export interface Connection {
  url: string;
  apiKey: string | undefined;
}

/** Options come first, then the environment, then what an `up` on this machine recorded for its user. */
export function connection(given: { url?: string | undefined; apiKey?: string | undefined }): Connection {
  const local = readLocal();
  const apiKey = given.apiKey ?? env('MILLIBOX_API_KEY') ?? local?.apiKey;
  return {
    url: given.url ?? env('MILLIBOX_URL') ?? local?.url ?? `http://127.0.0.1:${GATEWAY_PORT}`,
    apiKey: apiKey === undefined ? undefined : readKey(apiKey),
  };
}

function readLocal(): { url: string; apiKey: string } | undefined {
  try {
    const { url } = JSON.parse(readFileSync(upFile(home()), 'utf8')) as { url: string };
    return { url, apiKey: readFileSync(join(home(), 'api-key'), 'utf8').trim() };
  } catch {
    // No service is running here, or it belongs to another user.
    return undefined;
  }
}

/**
 * The part of our environment that every process started by `up` gets: the paths of programs and Docker, no secrets.
 */
export function inheritedEnvironment(): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value === undefined) continue;
    const ours = name.startsWith('MILLIBOX_') && name !== 'MILLIBOX_API_KEY';
    if (ours || ['PATH', 'HOME', 'LANG', 'TMPDIR', 'TZ', 'DOCKER_HOST', 'XDG_RUNTIME_DIR'].includes(name)) {
      kept[name] = value;
    }
  }
  return kept;
}

/** A variable that the user asked to pass on. */
export const variable = (name: string): string | undefined => process.env[name];

/** Type of the terminal we run in. */
export const terminalName = (): string => env('TERM') ?? 'xterm';

/** For a part that runs in the foreground as if it had been started directly. */
export const fullEnvironment = (): NodeJS.ProcessEnv => ({ ...process.env });

/** The image created by the setup, and its archive; undefined before the setup. */
export function setupImage(): { ref: string; tar: string } | undefined {
  for (const base of [home(), '/var/lib/millibox']) {
    try {
      const [ref, tar] = readFileSync(join(base, 'base', 'default-image'), 'utf8').split('\n');
      if (ref && tar) return { ref, tar };
    } catch {
      // The setup has not run.
    }
  }
  return undefined;
}

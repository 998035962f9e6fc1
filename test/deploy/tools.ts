/** Programs that check the contents of `deploy`, where the set-up has put them. */
import { execFile, type ExecFileOptions } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { setupHome } from '../helpers/config.ts';

export const ROOT = path.resolve(import.meta.dirname, '../..');
export const CHART = path.join(ROOT, 'deploy/helm/millibox');
/** JSON schemas of Kubernetes objects, in kubeconform's format. */
export const SCHEMAS = path.join(setupHome(), 'kubernetes-schemas');

const LIMIT_MS = 120_000;
const OUTPUT_BYTES = 64 * 1024 * 1024;
const PLACES = [path.join(setupHome(), 'go-tools/bin'), '/usr/local/bin', '/usr/bin', '/usr/local/sbin', '/usr/sbin'];

/** Undefined if it is not installed. */
export const find = (name: string): string | undefined =>
  PLACES.map((dir) => path.join(dir, name)).find((file) => existsSync(file));

/** For the name of a suite: what is missing, or nothing. */
export const because = (missing: readonly string[]): string =>
  missing.length === 0 ? '' : ` (skipped: there is no ${missing.join(', ')})`;

export const lacking = (...names: string[]): string[] => names.filter((name) => find(name) === undefined);

export interface Ended {
  status: number;
  stdout: string;
  stderr: string;
}

/** Resolves whatever its status is. @throws Error if it cannot be started or takes too long. */
export async function run(
  name: string,
  args: readonly string[],
  { input = '', ...options }: ExecFileOptions & { input?: string } = {},
): Promise<Ended> {
  const running = promisify(execFile)(find(name) ?? name, args, {
    timeout: LIMIT_MS,
    maxBuffer: OUTPUT_BYTES,
    ...options,
    encoding: 'utf8',
  });
  running.child.stdin?.on('error', () => undefined).end(input);
  try {
    return { status: 0, ...(await running) };
  } catch (error) {
    const { code, stdout, stderr } = error as { code?: unknown; stdout?: string; stderr?: string };
    if (typeof code !== 'number') throw error;
    return { status: code, stdout: stdout ?? '', stderr: stderr ?? '' };
  }
}

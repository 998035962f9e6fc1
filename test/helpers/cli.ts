/** The built `millibox` as a child process, with only the environment it needs. */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { allowedEnvironment } from './config.ts';
import type { TestStack } from './stack.ts';

/** The program itself. */
export const CLI_MAIN = join(import.meta.dirname, '../../dist/src/cli/main.js');

export interface CliResult {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: Buffer;
  stderr: string;
}

export function startCli(
  stack: Pick<TestStack, 'url' | 'apiKey'>,
  args: readonly string[],
  stdio: StdioOptions = ['pipe', 'pipe', 'pipe'],
  env: Record<string, string> = {},
): ChildProcess {
  return spawn(process.execPath, [CLI_MAIN, ...args], { env: { ...cliEnvironment(stack), ...env }, stdio });
}

/** The environment that tells the program where its service is. */
export function cliEnvironment({ url, apiKey }: Pick<TestStack, 'url' | 'apiKey'>): Record<string, string> {
  return { ...allowedEnvironment(), MILLIBOX_URL: url, MILLIBOX_API_KEY: apiKey };
}

/** Runs it to its end. Without input, its stdin is empty. */
export async function cli(
  stack: Pick<TestStack, 'url' | 'apiKey'>,
  args: readonly string[],
  input: string | Buffer = '',
): Promise<CliResult> {
  const child = startCli(stack, args);
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(input);
  return await finished(child);
}

export async function finished(child: ChildProcess): Promise<CliResult> {
  const out: Buffer[] = [];
  let stderr = '';
  child.stdout?.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { code, signal, stdout: Buffer.concat(out), stderr };
}

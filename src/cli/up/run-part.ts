/** Runs one part in the foreground: shares our output, gets our signals, and determines our exit code. */
import { spawn } from 'node:child_process';
import { fullEnvironment } from '../config.ts';

/** @param defaults environment for variables that are not set. */
export async function runPart(main: string, defaults: Record<string, string> = {}): Promise<void> {
  const child = spawn(process.execPath, [main], {
    stdio: 'inherit',
    env: { ...defaults, ...fullEnvironment() },
    // A terminal's Ctrl-C would reach both; forwarded, it arrives once.
    detached: true,
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  process.exitCode = await new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code) => resolve(code ?? 1));
  });
}

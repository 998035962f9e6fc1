/** The local baseline: Node's own child_process.spawn, both outputs captured. */
import { spawn } from 'node:child_process';

/** Runs the program with both outputs piped and read, as an exec does. Rejects unless it exits with 0. */
export function spawnAndWait(file: string, args: readonly string[] = []): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.resume();
    child.stderr.resume();
    child.on('error', reject);
    child.on('close', (code) => (code === 0 ? resolve() : reject(new Error(`${file} ended with ${code}`))));
  });
}

/** A terminal in a sandbox, joined to ours. */
import type { Pty } from '../../sdk/index.ts';
import { DetachKeys } from './detach-key.ts';
import { write } from './pump.ts';

/** What our terminal looks like now; the usual size when there is none. */
export function terminalSize(): { cols: number; rows: number } {
  const { columns, rows } = process.stdout;
  return { cols: columns || 80, rows: rows || 24 };
}

/**
 * Keys go there and output comes here, until the program ends (its exit code) or the detach keys are typed (null).
 * Our terminal is raw meanwhile, and as it was afterwards, however this ends.
 */
export async function joinTerminal(pty: Pty): Promise<number | null> {
  const { stdin, stdout } = process;
  const keys = new DetachKeys();
  const detached = Promise.withResolvers<null>();
  const onKeys = (typed: Buffer): void => {
    const { pass, detach } = keys.take(typed);
    if (pass.length > 0) pty.write(pass).catch(() => undefined);
    if (detach) detached.resolve(null);
  };
  const onEnd = (): void => void pty.write(Uint8Array.of(4)).catch(() => undefined);
  const onResize = (): void => {
    const { cols, rows } = terminalSize();
    pty.resize(cols, rows);
  };
  const show = async (): Promise<number> => {
    for await (const bytes of pty) await write(stdout, bytes);
    return (await pty.exit).exitCode;
  };
  if (stdin.isTTY) stdin.setRawMode(true);
  stdin.on('data', onKeys);
  stdin.on('end', onEnd);
  stdout.on('resize', onResize);
  try {
    return await Promise.race([show(), detached.promise]);
  } finally {
    stdout.off('resize', onResize);
    stdin.off('data', onKeys);
    stdin.off('end', onEnd);
    stdin.pause();
    if (stdin.isTTY) stdin.setRawMode(false);
  }
}

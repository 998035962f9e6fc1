/** Sandboxes that a command makes: all of them or none, since nobody knows the ids of what a failed command left. */
import { resolvesWithin } from '../../lib/deadline.ts';
import type { NewSandbox, SandboxInfo } from '../../sdk/index.ts';
import { exitCodeOfSignal } from './exit-code.ts';
import { awaitEndSignal } from './signals.ts';

/** Whoever ended us does not wait for longer. */
const PUT_AWAY_MS = 5_000;

/**
 * Resolves when all were made, or with `wait` when all run. When one of them fails, or a signal ends this process before,
 * all are deleted again.
 */
export async function allOrNone(asked: readonly NewSandbox[], { wait }: { wait: boolean }): Promise<SandboxInfo[]> {
  using ended = awaitEndSignal();
  const made = Promise.all(asked.map((sandbox) => (wait ? sandbox.ready() : sandbox.created())));
  if (wait) void tellOfQueue(asked);
  try {
    const first = await Promise.race([made, ended.signal]);
    if (typeof first !== 'string') return first;
    made.catch(() => undefined);
    await putAway(asked);
    process.exit(exitCodeOfSignal(first));
  } catch (error) {
    await putAway(asked);
    throw error;
  }
}

/** Waiting for room can take minutes, which without a word look like a hang. Never rejects: `made` says what failed. */
async function tellOfQueue(asked: readonly NewSandbox[]): Promise<void> {
  const infos = await Promise.all(asked.map((sandbox) => sandbox.created())).catch(() => []);
  const ahead = infos.map(({ queuePosition }) => queuePosition).find((position) => position !== undefined);
  if (ahead !== undefined) process.stderr.write(`millibox: waiting for room on a node, ${ahead} ahead in the queue\n`);
}

/** Never rejects: says what is left. */
async function putAway(asked: readonly NewSandbox[]): Promise<void> {
  const left = new Set(asked);
  const work = asked.map(async (sandbox) => {
    try {
      await sandbox.created();
    } catch {
      // Nothing was made.
      return void left.delete(sandbox);
    }
    await sandbox.delete();
    left.delete(sandbox);
  });
  await resolvesWithin(Promise.allSettled(work), PUT_AWAY_MS);
  if (left.size === 0) return;
  process.stderr.write(`millibox: may be left, until its lifetime ends: ${[...left].map(nameOf).join(' ')}\n`);
}

function nameOf(sandbox: NewSandbox): string {
  try {
    return sandbox.id;
  } catch {
    return '(no id yet)';
  }
}

/**
 * Sandboxes that one command creates: all of them or none, since nobody would know the ids of those a failed command
 * left.
 */
import { resolvesWithin } from '../../lib/deadline.ts';
import type { NewSandbox, SandboxInfo } from '../../sdk/index.ts';
import { exitCodeOfSignal } from './exit-code.ts';
import { awaitEndSignal } from './signals.ts';

/** A process that is being ended gets no more time than this. */
const PUT_AWAY_MS = 5_000;

/**
 * Resolves when all are created, or with `wait` when all run. If one of them fails, or a signal ends this process
 * first, all are deleted again.
 */
export async function allOrNone(asked: readonly NewSandbox[], { wait }: { wait: boolean }): Promise<SandboxInfo[]> {
  using ended = awaitEndSignal();
  const made = Promise.all(asked.map((sandbox) => (wait ? sandbox.ready() : sandbox.created())));
  if (wait) void reportQueue(asked);
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

/** Waiting for room can take minutes, which look like a hang without a message. Never rejects: `made` reports failures. */
async function reportQueue(asked: readonly NewSandbox[]): Promise<void> {
  const infos = await Promise.all(asked.map((sandbox) => sandbox.created())).catch(() => []);
  const ahead = infos.map(({ queuePosition }) => queuePosition).find((position) => position !== undefined);
  if (ahead !== undefined) process.stderr.write(`millibox: waiting for room on a node, ${ahead} ahead in the queue\n`);
}

/** Never rejects: reports what is left. */
async function putAway(asked: readonly NewSandbox[]): Promise<void> {
  const left = new Set(asked);
  const work = asked.map(async (sandbox) => {
    try {
      await sandbox.created();
    } catch {
      // Nothing was created.
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

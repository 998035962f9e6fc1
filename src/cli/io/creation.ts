/**
 * Sandboxes that one command creates: all of them or none, since nobody would know the ids of those a failed command
 * left.
 */
import { resolvesWithin } from '../../lib/deadline.ts';
import type { Millibox, NewSandbox, SandboxInfo } from '../../sdk/index.ts';
import { exitCodeOfSignal } from './exit-code.ts';
import type { EndSignal } from './signals.ts';

/** A process that is being ended gets no more time than this to delete what was made. */
const PUT_AWAY_MS = 5_000;
/** The same for a create without an answer. Less than a closing client waits for that, to tell whether it was undone. */
const UNDO_MS = 4_500;

interface Creation {
  client: Millibox;
  /** Requests the sandboxes, in one call. Nothing is requested once the signal has fired. */
  ask(signal: AbortSignal): readonly NewSandbox[];
  wait: boolean;
  /** Resolves when this process is to end. Signals must do nothing else until the client is closed. */
  ended: Promise<EndSignal>;
}

/**
 * Resolves when all are created, or with `wait` when all run. If one of them fails, or a signal ends this process
 * first, all are deleted again.
 */
export async function allOrNone({ client, ask, wait, ended }: Creation): Promise<SandboxInfo[]> {
  const given = new AbortController();
  const asked = ask(given.signal);
  const made = Promise.all(asked.map((sandbox) => (wait ? sandbox.ready() : sandbox.created())));
  if (wait) void reportQueue(asked);
  try {
    const first = await Promise.race([made, ended]);
    if (typeof first !== 'string') return first;
    made.catch(() => undefined);
    // A create that has no answer yet fails, and is then undone like any other.
    given.abort(new Error(`ended by ${first}`));
    await leaveNothing(client, asked);
    process.exit(exitCodeOfSignal(first));
  } catch (error) {
    await leaveNothing(client, asked);
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
async function leaveNothing(client: Millibox, asked: readonly NewSandbox[]): Promise<void> {
  const left = await putAway(asked);
  if (!(await resolvesWithin(client.close(), UNDO_MS))) left.push('(no id yet)');
  if (left.length === 0) return;
  process.stderr.write(`millibox: may be left, until its lifetime ends: ${left.join(' ')}\n`);
}

/** Deletes them. @returns the ids of those that may be left. */
async function putAway(asked: readonly NewSandbox[]): Promise<string[]> {
  const left = new Set<string>();
  const work = asked.map(async (sandbox) => {
    try {
      await sandbox.created();
    } catch {
      // Nothing was created, or the client undoes it.
      return;
    }
    left.add(sandbox.id);
    await sandbox.delete();
    left.delete(sandbox.id);
  });
  await resolvesWithin(Promise.allSettled(work), PUT_AWAY_MS);
  return [...left];
}

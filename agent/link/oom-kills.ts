/**
 * Which exits were kills for want of memory, where the sandbox is not shown the kernel's count: it is looked at from here,
 * and each kill in it is attributed to one exit only. That of a command's child, whose leader lived on, goes to a later
 * one.
 */
import { sleep, withDeadline } from '../../src/lib/deadline.ts';
import type { Sandbox } from '../sandboxes/sandbox.ts';

/** Runtimes try again by themselves, and engines start anew. Within what a gateway waits for an exit after a timeout. */
const DEADLINE_MS = 10_000;
const PAUSE_MS = 100;
/** As many exits as boxinit keeps. */
const MAX_VERDICTS = 4_096;

export type CountKills = (containerId: string) => Promise<number>;

/** An exit is sent again at every attach, and must be the same then. */
const verdicts = new WeakMap<Sandbox, Map<string, boolean>>();

/**
 * Undefined if the count cannot be had. Never rejects.
 * @param exit names the exit within its sandbox
 */
export async function wasOomKill(sandbox: Sandbox, exit: string, count: CountKills): Promise<boolean | undefined> {
  const known = verdicts.get(sandbox)?.get(exit);
  if (known !== undefined) return known;
  const kills = await countPatiently(sandbox, count);
  if (kills === undefined) return undefined;
  return verdicts.get(sandbox)?.get(exit) ?? judge(sandbox, exit, kills);
}

function judge(sandbox: Sandbox, exit: string, kills: number): boolean {
  const told = verdicts.get(sandbox) ?? new Map<string, boolean>();
  verdicts.set(sandbox, told);
  const oomKilled = kills > sandbox.oomKillsSeen;
  if (oomKilled) sandbox.oomKillsSeen += 1;
  told.set(exit, oomKilled);
  for (const oldest of told.keys()) {
    if (told.size <= MAX_VERDICTS) break;
    told.delete(oldest);
  }
  return oomKilled;
}

async function countPatiently(sandbox: Sandbox, count: CountKills): Promise<number | undefined> {
  try {
    return await withDeadline({ deadlineMs: DEADLINE_MS }, async (signal) => {
      while (sandbox.containerId !== null && !sandbox.ended) {
        const kills = await count(sandbox.containerId).catch(() => undefined);
        if (kills !== undefined) return kills;
        await sleep(PAUSE_MS, signal);
      }
      return undefined;
    });
  } catch {
    return undefined;
  }
}

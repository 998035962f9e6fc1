/**
 * Decides which exits were OOM kills when the kernel's count is not visible inside the sandbox. The agent reads the
 * count, and attributes each kill to one exit only. If the kill hit a command's child and its leader lived on, it goes
 * to a later exit.
 */
import { sleep, withDeadline } from '../../src/lib/deadline.ts';
import type { Sandbox } from '../sandboxes/sandbox.ts';

/** Runtimes retry by themselves, and engines restart. Shorter than a gateway waits for an exit after a timeout. */
const DEADLINE_MS = 10_000;
const PAUSE_MS = 100;
/** As many exits as boxinit keeps. */
const MAX_VERDICTS = 4_096;
/** As many that were kills are kept for the next agent: each record of the sandbox carries them. */
const MAX_KEPT = 64;

export interface OomHooks {
  /** OOM kills in this container since its launch. */
  oomKills(containerId: string): Promise<number>;
  /** A kill has been attributed: from the record, the next agent learns that it is not another one. */
  attributed?(sandbox: Sandbox): void;
}

/** An exit is sent again at every attach, and must not change. */
const verdicts = new WeakMap<Sandbox, Map<string, boolean>>();

/**
 * Undefined if the count is not available. Never rejects.
 * @param exit identifies the exit within its sandbox
 */
export async function wasOomKill(sandbox: Sandbox, exit: string, hooks: OomHooks): Promise<boolean | undefined> {
  const known = verdictOn(sandbox, exit);
  if (known !== undefined) return known;
  const kills = await countPatiently(sandbox, hooks);
  if (kills === undefined) return undefined;
  return verdictOn(sandbox, exit) ?? judge(sandbox, exit, kills, hooks);
}

function verdictOn(sandbox: Sandbox, exit: string): boolean | undefined {
  return verdicts.get(sandbox)?.get(exit) ?? (sandbox.oomKills.exits.includes(exit) ? true : undefined);
}

function judge(sandbox: Sandbox, exit: string, kills: number, hooks: OomHooks): boolean {
  const told = verdicts.get(sandbox) ?? new Map<string, boolean>();
  verdicts.set(sandbox, told);
  const { attributed, exits } = sandbox.oomKills;
  const oomKilled = kills > attributed;
  told.set(exit, oomKilled);
  if (oomKilled) {
    sandbox.oomKills = { attributed: attributed + 1, exits: [...exits, exit].slice(-MAX_KEPT) };
    hooks.attributed?.(sandbox);
  }
  for (const oldest of told.keys()) {
    if (told.size <= MAX_VERDICTS) break;
    told.delete(oldest);
  }
  return oomKilled;
}

async function countPatiently(sandbox: Sandbox, hooks: OomHooks): Promise<number | undefined> {
  try {
    return await withDeadline({ deadlineMs: DEADLINE_MS }, async (signal) => {
      while (sandbox.containerId !== null && !sandbox.ended) {
        const kills = await hooks.oomKills(sandbox.containerId).catch(() => undefined);
        if (kills !== undefined) return kills;
        await sleep(PAUSE_MS, signal);
      }
      return undefined;
    });
  } catch {
    return undefined;
  }
}

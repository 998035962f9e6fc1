/**
 * Removes cgroups of agents that no longer exist. A killed agent leaves its groups; if its data directory is gone too,
 * no later agent removes them as its own. Since a group that another agent has just created is also empty, only groups
 * found empty twice are removed, and an agent that misses one recreates it.
 */
import { rmdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { directoriesOf, groupsBelow, processesIn, type CgroupTree } from './cgroup-tree.ts';

/** Longer than a container takes to enter its new group. */
const PATIENCE_MS = 60_000;

interface StaleCgroupsOptions {
  tree: CgroupTree;
  /** This agent's cgroup; those of other agents are its siblings. */
  own: string;
  patienceMs?: number;
}

export class StaleCgroups {
  readonly #options: StaleCgroupsOptions;
  /** Empty directories by agent group, deepest first. */
  #empty = new Map<string, string[]>();
  #since = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: StaleCgroupsOptions) {
    this.#options = options;
  }

  /** Looks now, and again after `PATIENCE_MS`. */
  start(): void {
    this.#since = performance.now();
    this.#empty = this.#look();
    if (this.#empty.size === 0) return;
    this.#timer = setTimeout(() => this.#clear(), this.#patienceMs).unref();
  }

  close(): void {
    clearTimeout(this.#timer);
    if (performance.now() - this.#since >= this.#patienceMs) this.#clear();
  }

  get #patienceMs(): number {
    return this.#options.patienceMs ?? PATIENCE_MS;
  }

  #clear(): void {
    const still = this.#look();
    for (const [agent, directories] of this.#empty) if (still.has(agent)) directories.forEach(removeIfUnused);
    this.#empty.clear();
  }

  /** If the groups cannot be read now, none counts as empty. */
  #look(): Map<string, string[]> {
    const { tree, own } = this.#options;
    const all = dirname(own);
    try {
      const others = groupsBelow(tree, all)
        .map((name) => `${all}/${name}`)
        .filter((agent) => agent !== own && processesIn(tree, agent).length === 0);
      return new Map(others.map((agent) => [agent, directoriesOf(tree, agent)]));
    } catch {
      return new Map();
    }
  }
}

function removeIfUnused(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {
    // Already removed, or in use again.
  }
}

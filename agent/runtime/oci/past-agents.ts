/**
 * Control groups of agents that are no more: who is killed leaves them, and where its data directory is gone too no later
 * agent clears them away as its own. A group that another agent has made a moment ago is as empty as one that everybody has
 * forgotten: so only what was there and empty at two looks goes, and what an agent lacks of it, it makes again.
 */
import { rmdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { directoriesOf, groupsBelow, processesIn, type CgroupTree } from './cgroup-tree.ts';

/** Longer than it takes a container to enter the group that was made for it. */
const PATIENCE_MS = 60_000;

interface PastAgentsOptions {
  tree: CgroupTree;
  /** The control group of this agent, beside which are those of others. */
  own: string;
  patienceMs?: number;
}

export class PastAgents {
  readonly #options: PastAgentsOptions;
  /** By group of an agent: directories, deepest first. */
  #empty = new Map<string, string[]>();
  #since = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: PastAgentsOptions) {
    this.#options = options;
  }

  /** Looks, and once more when the time has come. */
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

  #look(): Map<string, string[]> {
    const { tree, own } = this.#options;
    const all = dirname(own);
    const others = groupsBelow(tree, all)
      .map((name) => `${all}/${name}`)
      .filter((agent) => agent !== own && processesIn(tree, agent).length === 0);
    return new Map(others.map((agent) => [agent, directoriesOf(tree, agent)]));
  }
}

function removeIfUnused(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {
    // Gone, or of use again.
  }
}

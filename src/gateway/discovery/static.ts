/** The nodes that the configuration names. */
import type { NodeAddress } from '../config.ts';
import type { Discovery, Publish } from './discovery.ts';

export class StaticDiscovery implements Discovery {
  readonly #nodes: readonly NodeAddress[];

  constructor(nodes: readonly NodeAddress[]) {
    this.#nodes = nodes;
  }

  start(publish: Publish): void {
    publish(
      this.#nodes.map((node) => ({ ...node, standing: 'in', reason: null })),
      true,
    );
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }
}

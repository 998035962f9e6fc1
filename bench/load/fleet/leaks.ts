/** What a run has left behind in the service, once it has had time to clean up. */
import type { Millibox } from '../../../src/sdk/index.ts';
import { sleep } from '../../../src/lib/deadline.ts';
import { residentMb } from '../memory.ts';
import type { Target } from '../../scenarios/scenario.ts';

const SETTLE_LIMIT_MS = 30_000;
const LOOK_EVERY_MS = 250;

export interface Leaks {
  /** Sandboxes of this run that are still alive. */
  sandboxes: number;
  /** Sandboxes alive on all nodes, beyond those before the run. Other users' count too. */
  onNodes: number;
  /** Growth of resident memory; null where the service was not started by the bench. */
  gatewayGrowthMb: number | null;
  agentGrowthMb: number | null;
}

export class LeakCheck {
  readonly #target: Target;
  readonly #label: string;
  readonly #before: { onNodes: number; gatewayMb: number; agentMb: number };

  private constructor(target: Target, label: string, before: { onNodes: number; gatewayMb: number; agentMb: number }) {
    this.#target = target;
    this.#label = label;
    this.#before = before;
  }

  /** @param label of the sandboxes that the run will create */
  static async begin(target: Target, label: string): Promise<LeakCheck> {
    return new LeakCheck(target, label, { onNodes: await onNodes(target), ...memory(target) });
  }

  /** Resolves when nothing is left, or after half a minute with what is. */
  async end(): Promise<Leaks> {
    const { client } = this.#target;
    const endAt = performance.now() + SETTLE_LIMIT_MS;
    for (;;) {
      const sandboxes = await alive(client, this.#label);
      const more = Math.max(0, (await onNodes(this.#target)) - this.#before.onNodes);
      if ((sandboxes === 0 && more === 0) || performance.now() > endAt) {
        const { gatewayMb, agentMb } = memory(this.#target);
        const known = this.#target.pids !== undefined;
        return {
          sandboxes,
          onNodes: more,
          gatewayGrowthMb: known ? Math.round(gatewayMb - this.#before.gatewayMb) : null,
          agentGrowthMb: known ? Math.round(agentMb - this.#before.agentMb) : null,
        };
      }
      await sleep(LOOK_EVERY_MS);
    }
  }
}

async function alive(client: Millibox, label: string): Promise<number> {
  let count = 0;
  for await (const { info } of client.sandboxes.list({ labels: { load: label }, pageSize: 1_000 })) {
    if (info.endedAt === null && !['TERMINATED', 'ERROR', 'TIMEOUT'].includes(info.status)) count += 1;
  }
  return count;
}

async function onNodes({ operator }: Target): Promise<number> {
  return (await operator.nodes()).reduce((sum, node) => sum + node.sandboxes, 0);
}

function memory({ pids }: Target): { gatewayMb: number; agentMb: number } {
  const sum = (list: readonly number[] = []): number => list.reduce((mb, pid) => mb + residentMb(pid), 0);
  return { gatewayMb: sum(pids?.gateway), agentMb: sum(pids?.agent) };
}

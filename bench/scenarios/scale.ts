/** One exec, through one gateway and several, to one agent and several, all on this machine, in turn. */
import { join } from 'node:path';
import type { Sandbox } from '../../src/sdk/index.ts';
import { closedLoop, interleave, spread } from '../load/concurrency.ts';
import { Machines, type Gateway } from '../load/scale/machines.ts';
import { mustSucceed } from '../load/sandboxes.ts';
import { setUp } from '../load/target.ts';
import { ratio, Samples } from '../report/statistics.ts';
import { failures, type Options, type Outcome, type Standalone } from './scenario.ts';

const ROOT = join(import.meta.dirname, '../..');
const AGENTS = [1, 2, 4, 8] as const;
const GATEWAYS = [1, 2, 4] as const;
const MOST_AGENTS = 8;
const DEFAULT_ROUNDS = 600;
const WARM_UP_ROUNDS = 60;
/**
 * Calls that each agent and gateway serves before anything is measured. With interleaving alone, each of eight agents
 * would have served 8: code that V8 still interprets would be compared with compiled code.
 */
const WARM_UP_CALLS = 2_000;
/** Per lane: so that a lane over eight agents has one on each. */
const SANDBOXES = 8;
const TRUE = ['/bin/true'];
const LOOP_MS = 2_000;
const LOOP_ROUNDS = 3;

/** One lane measures execs in one sandbox after the other. */
interface Lane {
  name: string;
  /** Agents or gateways that share its calls evenly. */
  processes: number;
  sandboxes: readonly Sandbox[];
}

export const scale: Standalone = {
  name: 'scale',
  describe: 'an exec with 1 to 8 agents and 1 to 4 gateways on this machine, one at a time and 8 at once',

  async standalone(options): Promise<Outcome> {
    await setUp(ROOT, options.progress);
    await using machines = new Machines(options.run, options.runtime);
    // Raced here, so that an interrupt stops the machines too.
    return await Promise.race([measure(machines, options), options.interrupted]);
  },
};

async function measure(machines: Machines, options: Options): Promise<Outcome> {
  const rounds = options.n ?? DEFAULT_ROUNDS;
  const lanes = await lanesOf(machines, options);
  options.progress('scale: warming up');
  for (const lane of lanes) await warmUp(lane);
  await oneAtATime(lanes, WARM_UP_ROUNDS);
  options.progress(`scale: ${rounds} rounds`);
  const alone = await oneAtATime(lanes, rounds);
  options.progress(`scale: ${SANDBOXES} at once`);
  const { samples: atOnce, elapsedMs } = await manyAtOnce(lanes);

  const at = (name: string): number => lanes.findIndex((lane) => lane.name === name);
  const p50 = (all: readonly Samples[], name: string): number => all[at(name)]?.p50 ?? Number.NaN;
  const rate = (name: string): number => (atOnce[at(name)]?.times.length ?? Number.NaN) / (elapsedMs[at(name)] ?? 0);
  return {
    setup: { rounds, agents: MOST_AGENTS, gateways: Math.max(...GATEWAYS), sandboxesInEachLane: SANDBOXES },
    rows: [...alone.map((each) => each.row()), ...atOnce.map((each, i) => each.row(elapsedMs[i]))],
    ratios: {
      execP50Agents8Vs1: ratio(p50(alone, 'agents-8'), p50(alone, 'agents-1')),
      execP50Gateways4Vs1: ratio(p50(alone, 'gateways-4'), p50(alone, 'gateways-1')),
      atOnceP50Agents8Vs1: ratio(p50(atOnce, 'agents-8'), p50(atOnce, 'agents-1')),
      atOnceP50Gateways4Vs1: ratio(p50(atOnce, 'gateways-4'), p50(atOnce, 'gateways-1')),
      throughputAgents8Vs1: ratio(rate('agents-8'), rate('agents-1')),
      throughputGateways4Vs1: ratio(rate('gateways-4'), rate('gateways-1')),
    },
    errors: failures(...alone, ...atOnce),
  };
}

async function lanesOf(machines: Machines, options: Options): Promise<Lane[]> {
  options.progress(`scale: ${MOST_AGENTS} agents`);
  await machines.startAgents(MOST_AGENTS, SANDBOXES);
  const lanes: Lane[] = [];
  for (const agents of AGENTS) {
    const gateway = await machines.startGateway(agents);
    lanes.push({ name: `agents-${agents}`, processes: agents, sandboxes: await placed(gateway, agents) });
  }
  options.progress(`scale: ${GATEWAYS.at(-1)} gateways`);
  const gateways: Gateway[] = [];
  for (let i = 0; i < Math.max(...GATEWAYS); i++) gateways.push(await machines.startGateway(1));
  // The same sandboxes for all of these: only the path to them differs.
  const shared = await placed(gateways[0] as Gateway, 1);
  for (const count of GATEWAYS) {
    const through = (sandbox: Sandbox, i: number) => (gateways[i % count] as Gateway).client.sandboxes.get(sandbox.id);
    lanes.push({ name: `gateways-${count}`, processes: count, sandboxes: await Promise.all(shared.map(through)) });
  }
  return lanes;
}

/** Running sandboxes, the same number on each of the gateway's agents. */
async function placed(gateway: Gateway, agents: number): Promise<Sandbox[]> {
  const each = SANDBOXES / agents;
  const here = new Map<string, Sandbox[]>();
  const count = (): number => [...here.values()].reduce((sum, list) => sum + Math.min(each, list.length), 0);
  // Placement chooses at random among equals: sandboxes on an agent that has enough are deleted again.
  for (let tries = 0; count() < SANDBOXES && tries < 40 * SANDBOXES; tries++) {
    const sandbox = await gateway.client.sandboxes.create({ memoryMb: 128 });
    const { node } = await sandbox.ready();
    const list = here.get(node ?? '') ?? [];
    if (list.length >= each) await sandbox.delete();
    else here.set(node ?? '', [...list, sandbox]);
  }
  if (count() < SANDBOXES) throw new Error(`not all of ${agents} agents were given sandboxes`);
  const lists = [...here.values()];
  // One agent after the other.
  return Array.from({ length: SANDBOXES }, (_, i) => lists[i % agents]?.[Math.floor(i / agents)] as Sandbox);
}

async function warmUp({ sandboxes, processes }: Lane): Promise<void> {
  await spread(WARM_UP_CALLS * processes, sandboxes.length, async (i) => {
    await mustSucceed((sandboxes[i % sandboxes.length] as Sandbox).exec(TRUE));
  });
}

async function oneAtATime(lanes: readonly Lane[], rounds: number): Promise<Samples[]> {
  const samples = lanes.map(({ name }) => new Samples(name));
  await interleave(
    rounds,
    lanes.map(({ sandboxes }, i) => ({
      run: async (round) => {
        const sandbox = sandboxes[round % sandboxes.length] as Sandbox;
        await samples[i]?.time(() => mustSucceed(sandbox.exec(TRUE)));
      },
    })),
  );
  return samples;
}

async function manyAtOnce(lanes: readonly Lane[]): Promise<{ samples: Samples[]; elapsedMs: number[] }> {
  const samples = lanes.map(({ name }) => new Samples(`${name}.at-once`));
  const elapsedMs = lanes.map(() => 0);
  for (let round = 0; round < LOOP_ROUNDS; round++) {
    for (let turn = 0; turn < lanes.length; turn++) {
      // As in `interleave`: it is not always the same lane that runs after a heavy one.
      const i = (round + turn) % lanes.length;
      const { sandboxes } = lanes[i] as Lane;
      const call = (worker: number): Promise<void> =>
        samples[i]?.time(() => mustSucceed((sandboxes[worker] as Sandbox).exec(TRUE))) ?? Promise.resolve();
      elapsedMs[i] = (elapsedMs[i] ?? 0) + (await closedLoop(sandboxes.length, LOOP_MS, call));
    }
  }
  return { samples, elapsedMs };
}

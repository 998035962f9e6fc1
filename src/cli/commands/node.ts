import type { Command } from 'commander';
import { sleep } from '../../lib/deadline.ts';
import { ServiceError } from '../../protocol/errors.ts';
import { operate } from '../io/client.ts';
import { forEach } from '../io/each.ts';
import type { NodeView, Operator } from '../io/operator.ts';
import { duration } from '../io/parse.ts';
import { printJson, printTable } from '../io/print.ts';

const LOOK_MS = 500;
/** A gateway, or a node whose agent, is being restarted may be silent for this long. */
const SILENCE_MS = 120_000;

interface DrainOptions {
  deadline?: number;
  wait: boolean;
}

/** `node ls`, `cordon`, `uncordon` and `drain`: the operator's commands for nodes. */
export function define(node: Command): void {
  node.addHelpText('after', '\nExample:\n  millibox node ls');
  node
    .command('ls')
    .description('list nodes and their state')
    .option('--json', 'one JSON array')
    .addHelpText('after', '\nExample:\n  millibox node ls')
    .action(async (options: { json?: boolean }, command: Command) => {
      const nodes = await (await operate(command)).nodes();
      if (options.json) return printJson(nodes);
      printTable(['NAME', 'STATE', 'SANDBOXES', 'RUNTIME', 'NOTE'], nodes.map(row));
    });

  node
    .command('cordon')
    .description('keep new sandboxes away from nodes; those that run there continue')
    .argument('<node...>')
    .addHelpText('after', '\nExample:\n  millibox node cordon node-1')
    .action(async (names: string[], _options: object, command: Command) => {
      const api = await operate(command);
      await forEach(names, async (name) => printLine(await api.cordon(name, true)));
    });

  node
    .command('uncordon')
    .description('allow new sandboxes again, after a cordon or a drain')
    .argument('<node...>')
    .addHelpText('after', '\nExample:\n  millibox node uncordon node-1')
    .action(async (names: string[], _options: object, command: Command) => {
      const api = await operate(command);
      await forEach(names, async (name) => {
        await api.drain(name, false);
        printLine(await api.cordon(name, false));
      });
    });

  node
    .command('drain')
    .description('keep new sandboxes away from a node, and wait until the last one there has ended')
    .argument('<node>')
    .option('--deadline <duration>', 'end what still runs after this long: 30s, 10m, 2h', duration)
    .option('--no-wait', 'start the drain and return; the node remembers it')
    .addHelpText('after', '\nExamples:\n  millibox node drain node-1 --deadline 30m\n  millibox node uncordon node-1')
    .action(async (name: string, options: DrainOptions, command: Command) => {
      const api = await operate(command);
      printLine(await api.drain(name, true, options.deadline));
      if (options.wait) await untilEmpty(api, name);
    });
}

/** Prints the number of remaining sandboxes whenever it changes. @throws ServiceError when the drain was undone */
async function untilEmpty(api: Operator, name: string): Promise<void> {
  let left = -1;
  let lastSeenAt = performance.now();
  for (;;) {
    let view: NodeView | undefined;
    try {
      view = (await api.nodes()).find((node) => node.name === name);
      // A gateway that has just started asks its nodes first.
      if (view !== undefined && CONNECTED.has(view.state)) lastSeenAt = performance.now();
      else view = undefined;
    } catch (error) {
      if (performance.now() - lastSeenAt > SILENCE_MS) throw error;
    }
    if (view !== undefined && view.state !== 'draining') {
      throw new ServiceError('cancelled', `${name} is ${view.state}: the drain was undone`);
    }
    if (view === undefined && performance.now() - lastSeenAt > SILENCE_MS) {
      throw new ServiceError('node_unavailable', `nothing has been heard of ${name} for ${SILENCE_MS / 1000} s`);
    }
    if (view !== undefined && view.sandboxes !== left) {
      left = view.sandboxes;
      if (left === 0) return void process.stdout.write(`${name}  drained\n`);
      process.stdout.write(`${name}  ${left} left${until(view)}\n`);
    }
    await sleep(LOOK_MS);
  }
}

/** States of a connected node. */
const CONNECTED: ReadonlySet<string> = new Set(['ready', 'cordoned', 'draining']);

const printLine = (view: NodeView): void =>
  void process.stdout.write(`${view.name}  ${view.state}  ${view.sandboxes} sandboxes${until(view)}\n`);

const until = ({ drainDeadline }: NodeView): string => (drainDeadline ? `, until ${drainDeadline}` : '');

function row(view: NodeView): string[] {
  const { name, state, sandboxes, maxSandboxes, runtime, ejectedMs, drainDeadline } = view;
  const notes = [
    ...(drainDeadline ? [`ends remaining sandboxes at ${drainDeadline}`] : []),
    ...(ejectedMs > 0 ? [`failed; tried again in ${Math.ceil(ejectedMs / 1000)}s`] : []),
  ];
  return [name, state, `${sandboxes}/${maxSandboxes ?? '-'}`, runtime ?? '-', notes.join('; ')];
}

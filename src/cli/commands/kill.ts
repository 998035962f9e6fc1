import type { Command } from 'commander';
import type { SignalName } from '../../sdk/index.ts';
import { connect } from '../io/client.ts';

export function define(command: Command): void {
  command
    .argument('<sandbox>', 'its id')
    .argument('<exec>', 'its id')
    .option('-s, --signal <name>', 'such as INT, TERM or KILL', 'TERM')
    .addHelpText('after', '\nExample:\n  millibox kill sbx-0123 exe-0123 -s KILL')
    .action(async (id: string, exec: string, options: { signal: string }) => {
      const SignalName = await signalNames();
      const name = SignalName.safeParse(options.signal.toUpperCase().replace(/^SIG/, ''));
      if (!name.success)
        command.error(`error: no signal ${options.signal}; there are: ${SignalName.options.join(' ')}`);
      await using client = await connect(command);
      const sandbox = client.sandboxes.at(id);
      await sandbox.jobs.get(exec).signal(name.data as SignalName, { all: true });
    });
}

/** A function of its own: in one that has a `using`, tsc keeps the `.ts` of an import. */
async function signalNames() {
  return (await import('../../protocol/exec.ts')).SignalName;
}

import type { Command } from 'commander';
import { connect } from '../io/client.ts';
import { age, printJson, printTable } from '../io/print.ts';

export function define(command: Command): void {
  command
    .argument('<sandbox>', 'its id')
    .option('--json', 'one JSON array')
    .addHelpText('after', '\nExample:\n  millibox jobs sbx-0123')
    .action(async (id: string, options: { json?: boolean }) => {
      await using client = await connect(command);
      const sandbox = client.sandboxes.at(id);
      const execs = await sandbox.jobs.list();
      if (options.json) return printJson(execs);
      printTable(
        ['ID', 'STATE', 'EXIT', 'AGE', 'STDOUT', 'STDERR'],
        execs.map((e) => [
          e.execId,
          e.background ? `${e.state} (background)` : e.state,
          e.exit === null ? '-' : String(e.exit.exitCode),
          age(e.startedAt),
          String(e.stdoutBytes),
          String(e.stderrBytes),
        ]),
      );
    });
}

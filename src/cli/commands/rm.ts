import type { Command } from 'commander';
import { connect } from '../io/client.ts';
import { describeFailure } from '../io/failure.ts';
import { pair } from '../io/parse.ts';
import { printJson } from '../io/print.ts';

export function define(command: Command): void {
  command
    .argument('[sandbox...]', 'ids')
    .option('--label <name=value>', 'all that have this label; may be repeated', pair)
    .option('--json', 'what was deleted, as JSON')
    .addHelpText('after', '\nExamples:\n  millibox rm sbx-0123\n  millibox rm --label job=42')
    .action(async (ids: string[], options: { label?: Record<string, string>; json?: boolean }) => {
      if (ids.length === 0 && options.label === undefined) command.error('error: name a sandbox, or give --label');
      await using client = await connect(command);
      const deleted: string[] = [];
      const failed: { id: string; error: string }[] = [];
      if (options.label !== undefined) {
        const count = await client.sandboxes.deleteByLabel(options.label);
        if (!options.json) process.stdout.write(`${count} deleted\n`);
        else if (ids.length === 0) return printJson({ deleted: count });
      }
      await Promise.all(
        ids.map(async (id) => {
          try {
            await client.sandboxes.delete(id);
            deleted.push(id);
          } catch (error) {
            failed.push({ id, error: describeFailure(error) });
          }
        }),
      );
      if (options.json) printJson({ deleted, failed });
      else for (const id of deleted) process.stdout.write(`${id}\n`);
      for (const { id, error } of failed) process.stderr.write(`millibox: ${id}: ${error}\n`);
      if (failed.length > 0) process.exitCode = 1;
    });
}

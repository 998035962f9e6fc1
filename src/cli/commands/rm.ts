import type { Command } from 'commander';
import type { Sandboxes } from '../../sdk/index.ts';
import { connect } from '../io/client.ts';
import { deletedSoFar, describeFailure } from '../io/failure.ts';
import { label } from '../io/parse.ts';
import { printJson } from '../io/print.ts';

interface RmOptions {
  label?: Record<string, string>;
  json?: boolean;
}

export function define(command: Command): void {
  command
    .argument('[sandbox...]', 'ids')
    .option('--label <name=value>', 'all that have this label; repeated, all that have all of them', label)
    .option('--json', 'what was deleted, as JSON')
    .addHelpText(
      'after',
      `
Prints the ids that were deleted, or with --label how many; with --json { deleted, failed }, or { deleted: number }.
A delete by label that reaches only some of the nodes also prints how many it deleted, and fails: run it again.

Examples:
  millibox rm sbx-0123
  millibox rm --label job=42`,
    )
    .action(async (ids: string[], options: RmOptions) => {
      if ((ids.length === 0) === (options.label === undefined)) {
        command.error('error: give either sandbox ids or --label');
      }
      await using client = await connect(command);
      if (options.label === undefined) await removeByIds(client.sandboxes, ids, options);
      else await removeByLabel(client.sandboxes, options.label, options);
    });
}

/** @throws ServiceError also after a partial delete, whose count has then been printed. */
async function removeByLabel(sandboxes: Sandboxes, labels: Record<string, string>, { json }: RmOptions): Promise<void> {
  const say = (deleted: number): void => {
    if (json) printJson({ deleted });
    else process.stdout.write(`${deleted} deleted\n`);
  };
  try {
    say(await sandboxes.deleteByLabel(labels));
  } catch (error) {
    const deleted = deletedSoFar(error);
    if (deleted !== undefined) say(deleted);
    throw error;
  }
}

async function removeByIds(sandboxes: Sandboxes, ids: readonly string[], { json }: RmOptions): Promise<void> {
  const deleted: string[] = [];
  const failed: { id: string; error: string }[] = [];
  await Promise.all(
    ids.map(async (id) => {
      try {
        await sandboxes.delete(id);
        deleted.push(id);
      } catch (error) {
        failed.push({ id, error: describeFailure(error) });
      }
    }),
  );
  if (json) printJson({ deleted, failed });
  else for (const id of deleted) process.stdout.write(`${id}\n`);
  for (const { id, error } of failed) process.stderr.write(`millibox: ${id}: ${error}\n`);
  if (failed.length > 0) process.exitCode = 1;
}

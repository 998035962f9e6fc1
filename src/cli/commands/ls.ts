import type { Command } from 'commander';
import type { SandboxInfo } from '../../sdk/index.ts';
import { connect } from '../io/client.ts';
import { label } from '../io/parse.ts';
import { age, printJson, printTable } from '../io/print.ts';

interface LsOptions {
  label?: Record<string, string>;
  status?: string;
  all?: boolean;
  json?: boolean;
  quiet?: boolean;
}

export function define(command: Command): void {
  command
    .option('--label <name=value>', 'only those with this label; repeated, with all of them', label)
    .option('--status <status>', 'only these, such as RUNNING')
    .option('-a, --all', 'with those that have ended within the last hour')
    .option('-q, --quiet', 'ids only')
    .option('--json', 'one JSON array')
    .addHelpText('after', '\nExamples:\n  millibox ls\n  millibox ls -q --label job=42 | xargs -r -n 1 millibox jobs')
    .action(async (options: LsOptions) => {
      const SandboxStatus = await statuses();
      await using client = await connect(command);
      const status = options.status === undefined ? undefined : SandboxStatus.safeParse(options.status.toUpperCase());
      if (status?.success === false) command.error(`error: a status is one of ${SandboxStatus.options.join(' ')}`);
      const found: SandboxInfo[] = [];
      const wanted = {
        ...(options.label === undefined ? {} : { labels: options.label }),
        ...(status?.data === undefined ? {} : { status: status.data }),
      };
      for await (const { info } of client.sandboxes.list(wanted)) {
        if (info.endedAt === null || options.all || status !== undefined) found.push(info);
      }
      if (options.json) printJson(found);
      else if (options.quiet) for (const { id } of found) process.stdout.write(`${id}\n`);
      else {
        printTable(
          ['ID', 'STATUS', 'IMAGE', 'NODE', 'AGE', 'NAME', 'LABELS'],
          found.map((s) => [
            s.id,
            s.reason === null ? s.status : `${s.status} (${s.reason})`,
            s.image,
            s.node ?? '-',
            age(s.createdAt),
            s.name ?? '-',
            Object.entries(s.labels)
              .map(([key, value]) => `${key}=${value}`)
              .join(','),
          ]),
        );
      }
    });
}

/** A function of its own: in one that has a `using`, tsc keeps the `.ts` of an import. */
async function statuses() {
  return (await import('../../protocol/sandbox.ts')).SandboxStatus;
}

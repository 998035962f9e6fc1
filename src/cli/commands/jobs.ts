import type { Command } from 'commander';
import { SignalName } from '../../protocol/exec.ts';
import { connect } from '../io/client.ts';
import { whole } from '../io/parse.ts';
import { age, printJson, printTable } from '../io/print.ts';
import { tolerateBrokenPipes, write } from '../io/pump.ts';

/** `jobs`, `logs` and `kill`: commands that run, or ran, in a sandbox. */
export function register(program: Command): void {
  program
    .command('jobs')
    .description('list the commands of a sandbox, those that ended included')
    .argument('<sandbox>')
    .option('--json', 'one JSON array')
    .addHelpText('after', '\nExample:\n  millibox jobs sbx-0123')
    .action(async (id: string, options: { json?: boolean }, command: Command) => {
      await using client = connect(command);
      const sandbox = await client.sandboxes.get(id);
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

  program
    .command('logs')
    .description('print what a command has written so far')
    .argument('<sandbox>')
    .argument('<exec>', 'its id')
    .option('--stderr', 'its stderr in place of its stdout')
    .option('-f, --follow', 'go on until it ends, with both streams, and end with its exit code')
    .option('--tail <bytes>', 'only so many bytes from the end', whole)
    .addHelpText(
      'after',
      '\nExamples:\n  millibox logs sbx-0123 exe-0123 --tail 2000\n  millibox logs -f sbx-0123 exe-0123',
    )
    .action(async (id: string, exec: string, options: LogOptions, command: Command) => {
      const client = connect(command);
      const sandbox = await client.sandboxes.get(id);
      tolerateBrokenPipes();
      if (options.follow) {
        for await (const event of sandbox.attach(exec, { encoding: 'bytes' })) {
          if (event.type === 'stdout') await write(process.stdout, event.data);
          if (event.type === 'stderr') await write(process.stderr, event.data);
          if (event.type === 'exit') process.exitCode = event.exitCode;
        }
      } else {
        const channel = options.stderr ? 'stderr' : 'stdout';
        const from = options.tail === undefined ? {} : { offset: -options.tail };
        await write(process.stdout, await sandbox.jobs.get(exec).output(channel, from));
      }
      await client.close();
    });

  program
    .command('kill')
    .description('send a signal to a command and to everything it started')
    .argument('<sandbox>')
    .argument('<exec>', 'its id')
    .option('-s, --signal <name>', 'such as INT, TERM or KILL', 'TERM')
    .addHelpText('after', '\nExample:\n  millibox kill sbx-0123 exe-0123 -s KILL')
    .action(async (id: string, exec: string, options: { signal: string }, command: Command) => {
      const name = SignalName.safeParse(options.signal.toUpperCase().replace(/^SIG/, ''));
      if (!name.success)
        command.error(`error: no signal ${options.signal}; there are: ${SignalName.options.join(' ')}`);
      await using client = connect(command);
      const sandbox = await client.sandboxes.get(id);
      await sandbox.jobs.get(exec).signal(name.data as SignalName, { all: true });
    });
}

interface LogOptions {
  stderr?: boolean;
  follow?: boolean;
  tail?: number;
}

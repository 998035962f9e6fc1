import type { Command } from 'commander';
import { terminalName } from '../config.ts';
import { connect } from '../io/client.ts';
import { keepExitCodesApart } from '../io/failure.ts';
import { duration, pair, withoutDashes } from '../io/parse.ts';
import { joinTerminal, terminalSize } from '../io/terminal.ts';

interface ShellOptions {
  cwd?: string;
  env?: Record<string, string>;
  user?: string;
  attach?: string;
  keep?: number;
}

const DEFAULT_KEEP_MS = 3_600_000;

export function define(command: Command): void {
  keepExitCodesApart(command);
  command
    .argument('<sandbox>', 'its id')
    .argument('[command...]', 'in place of a shell, behind --')
    .passThroughOptions()
    .option('-w, --cwd <directory>')
    .option('-e, --env <name=value>', 'may be repeated', pair)
    .option('-u, --user <user>', 'name, uid, name:group or uid:gid')
    .option('-a, --attach <id>', 'go back to a terminal that was left running')
    .option('--keep <duration>', 'how long a terminal that was left waits for its user (default: 1h)', duration)
    .addHelpText(
      'after',
      '\nExamples:\n  millibox shell sbx-0123\n  millibox shell sbx-0123 -- python3\n  millibox shell sbx-0123 -a exe-0123',
    )
    .action(async (id: string, given: string[], options: ShellOptions) => {
      const words = withoutDashes(given);
      const client = connect(command);
      const sandbox = client.sandboxes.at(id);
      const size = terminalSize();
      const pty =
        options.attach === undefined
          ? sandbox.pty({
              ...size,
              env: { TERM: process.stdout.isTTY ? terminalName() : 'dumb', ...options.env },
              detachedMs: options.keep ?? DEFAULT_KEEP_MS,
              ...(words.length === 0 ? {} : { command: words }),
              ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
              ...(options.user === undefined ? {} : { user: options.user }),
            })
          : sandbox.attachPty(options.attach);
      await pty.started;
      if (options.attach !== undefined) pty.resize(size.cols, size.rows);
      const code = await joinTerminal(pty);
      if (code === null) {
        await pty.detach();
        process.stderr.write(`\r\nleft running; back to it with: millibox shell ${id} -a ${pty.id}\n`);
      }
      await client.close();
      process.exit(code ?? 0);
    });
}

import type { Command } from 'commander';
import type { Pty } from '../../sdk/index.ts';
import { connect } from '../io/client.ts';
import { keepExitCodesApart } from '../io/failure.ts';
import { duration } from '../io/parse.ts';
import {
  exitCodeOfEnd,
  joinTerminal,
  reportLostOutput,
  terminalEnvironment,
  terminalSize,
  type TerminalEnd,
} from '../io/terminal.ts';
import { envPair } from '../io/variables.ts';

interface ShellOptions {
  cwd?: string;
  env?: Record<string, string>;
  user?: string;
  attach?: string;
  keep?: number;
}

const DEFAULT_KEEP_MS = 3_600_000;
/** A process that is being ended gets little time. */
const HASTY_MS = 2_000;

export function define(command: Command): void {
  keepExitCodesApart(command);
  command
    .argument('<sandbox>', 'its id')
    .argument('[command...]', 'run this instead of a shell; put it after --')
    .option('-w, --cwd <directory>', "working directory; the image's own if omitted")
    .option('-e, --env <name[=value]>', 'NAME alone copies the value from your environment; may be repeated', envPair)
    .option('-u, --user <user>', 'name, uid, name:group or uid:gid')
    .option('-a, --attach <id>', 'go back to a terminal that was left running')
    .option('--keep <duration>', 'how long a terminal that was left waits for its user (default: 1h)', duration)
    .addHelpText(
      'after',
      `
Ctrl-P Ctrl-Q leaves the terminal running, as does closing the window. The exit code is the program's own.

Examples:
  millibox shell sbx-0123
  millibox shell sbx-0123 -- python3
  millibox shell sbx-0123 -a exe-0123`,
    )
    .action(async (id: string, words: string[], options: ShellOptions) => {
      if (options.attach !== undefined && words.length > 0) {
        command.error('error: a terminal that was left running has its command already');
      }
      const client = await connect(command);
      const sandbox = client.sandboxes.at(id);
      const attached = options.attach !== undefined;
      const pty = attached
        ? sandbox.attachPty(options.attach as string, { onOutputLost: reportLostOutput })
        : sandbox.pty({
            ...terminalSize(),
            env: { ...terminalEnvironment(), ...options.env },
            detachedMs: options.keep ?? DEFAULT_KEEP_MS,
            onOutputLost: reportLostOutput,
            ...(words.length === 0 ? {} : { command: words }),
            ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
            ...(options.user === undefined ? {} : { user: options.user }),
          });
      const end = await joinTerminal(pty, { redraw: attached });
      // Nobody has seen it yet, and nobody knows its id.
      if (end.type === 'signal' && !end.started && !attached) pty.kill();
      else await leave(pty, end, id);
      await client.close();
      process.exit(exitCodeOfEnd(end));
    });
}

/** Detaches from the terminal, leaving it as it is, and prints how to come back. */
async function leave(pty: Pty, end: TerminalEnd, sandbox: string): Promise<void> {
  if (end.type === 'exit') return;
  if (end.type === 'detached') await pty.detach();
  // Without this wait, the last keystrokes would be lost when we exit.
  else await pty.detach({ deadlineMs: HASTY_MS }).catch(() => undefined);
  process.stderr.write(`\r\nleft running; back to it with: millibox shell ${sandbox} -a ${pty.id}\n`);
}

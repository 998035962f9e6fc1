import { Option, type Command } from 'commander';
import type { Encoding, ExecHandle } from '../../sdk/index.ts';
import { asError } from '../../lib/deadline.ts';
import { connect } from '../io/client.ts';
import { keepExitCodesApart } from '../io/failure.ts';
import { exitCodeOf } from '../io/exit-code.ts';
import { duration, withoutDashes } from '../io/parse.ts';
import { feed, flushed, write } from '../io/pump.ts';
import { bytesOfStdin, readStdin, withoutKeys } from '../io/stdin.ts';
import { envPair } from '../io/variables.ts';
import { forwardSignals } from '../io/signals.ts';
import { printJson, printable } from '../io/print.ts';
import { exitCodeOfEnd, joinTerminal, reportLostOutput, terminalEnvironment, terminalSize } from '../io/terminal.ts';

interface ExecOptions {
  shell?: boolean;
  cwd?: string;
  env?: Record<string, string>;
  user?: string;
  timeout?: number;
  stdin: boolean;
  background?: boolean;
  tty?: boolean;
  json?: boolean;
}

export function define(command: Command): void {
  keepExitCodesApart(command);
  command
    .argument('<sandbox>', 'its id')
    .argument('<command...>', 'put it after --, so that millibox does not read its options')
    .passThroughOptions()
    .option('-s, --shell', 'run the command as one string with sh -c')
    .option('-w, --cwd <directory>', "working directory; the image's own if omitted")
    .option('-e, --env <name[=value]>', 'NAME alone copies the value from your environment; may be repeated', envPair)
    .option('-u, --user <user>', 'name, uid, name:group or uid:gid')
    .option('--timeout <duration>', 'kill the command and all it started after this long, and exit with 124', duration)
    .option('-n, --no-stdin', 'give it an empty stdin instead of yours')
    .addOption(new Option('-t, --tty', 'run it in a terminal').conflicts(['background', 'json', 'stdin']))
    .option('-b, --background', 'print its id and leave it running; see millibox jobs, logs, kill')
    .option('--json', 'print one JSON result instead of passing output through')
    .addHelpText(
      'after',
      `
The exit code is the command's own (128 + n when signal n ended it), 124 after --timeout, 255 when the service failed or an option is invalid.
With --json it is 0 whenever there is a result: exitCode and timedOut are in it.
Where WebSockets are blocked, stdin is read to its end first, 16 MiB at most, and output arrives when the command has ended.

Examples:
  millibox exec sbx-0123 -- ls -l /
  millibox exec -s sbx-0123 -- 'cd /tmp && ls | wc -l'
  tar c src | millibox exec sbx-0123 -- tar x -C /work
  millibox exec -b sbx-0123 -- python3 -m http.server`,
    )
    .action(async (id: string, given: string[], options: ExecOptions) => {
      const [first = ''] = given;
      if (first.startsWith('-') && first !== '--') {
        command.error(
          `error: ${printable(first)} goes before the sandbox: millibox exec ${printable(first)} … ${printable(id)} -- …`,
        );
      }
      const words = withoutDashes(given);
      if (words.length === 0) command.error('error: give a command, after --');
      const client = await connect(command);
      const sandbox = client.sandboxes.at(id);
      const what = options.shell ? words.join(' ') : words;
      let runs = false;
      const noteStart = (): void => void (runs = true);
      const common = {
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
        ...(options.env === undefined ? {} : { env: options.env }),
        ...(options.user === undefined ? {} : { user: options.user }),
        ...(options.timeout === undefined ? {} : { timeoutMs: options.timeout }),
      };
      if (options.background) {
        const job = await sandbox.jobs.start(what, common);
        if (options.json) printJson({ execId: job.id });
        else process.stdout.write(`${job.id}\n`);
        return await client.close();
      }
      if (options.tty) {
        const env = { ...terminalEnvironment(), ...options.env };
        const pty = sandbox.pty({
          ...common,
          ...terminalSize(),
          env,
          command: what,
          detachedMs: 0,
          onOutputLost: reportLostOutput,
        });
        const end = await joinTerminal(pty);
        if (end.type !== 'exit') pty.kill();
        await client.close();
        return process.exit(exitCodeOfEnd(end));
      }
      if (options.json) {
        const stdin = options.stdin && !process.stdin.isTTY ? { stdin: readStdin(() => runs) } : {};
        const running = sandbox.exec(what, { ...common, ...stdin });
        running.started.then(noteStart, () => undefined);
        return await untilLeft(running, async () => {
          printJson(await running);
          await Promise.all([client.close(), flushed()]);
          // A stdin that nobody closes would keep this process alive.
          process.exit();
        });
      }
      const typed = options.stdin && process.stdin.isTTY;
      const stdin = options.stdin ? { stdin: typed ? (true as const) : readStdin(() => runs) } : {};
      const running = sandbox.exec(what, { ...common, ...stdin, encoding: 'bytes' });
      running.started.then(noteStart, () => undefined);
      await untilLeft(running, async () => {
        const code = await passThrough(running, typed);
        await Promise.all([client.close(), flushed()]);
        process.exit(code);
      });
    });
}

/**
 * Does the work, which ends this process, and forwards signals to the command until then: a late interrupt must not
 * replace the exit code. If a signal ends us, it determines our exit code, however the work then fails.
 */
async function untilLeft(running: ExecHandle<Encoding>, work: () => Promise<void>): Promise<void> {
  using signals = forwardSignals(running);
  try {
    await work();
  } catch (error) {
    if (signals.leaving !== undefined) process.exit(signals.leaving);
    throw error;
  }
}

/**
 * Joins the command to this process's streams. Returns the exit code.
 * @param typed its stdin comes from our keyboard
 */
async function passThrough(running: ExecHandle<'bytes'>, typed: boolean): Promise<number> {
  let unread: Error | undefined;
  if (typed) {
    feed(bytesOfStdin(), running).catch((error: unknown) => {
      unread = asError(error);
      running.kill();
    });
  }
  try {
    for await (const event of running) {
      if (event.type === 'stdout') await write(process.stdout, event.data);
      else if (event.type === 'stderr') await write(process.stderr, event.data);
      else if (event.type === 'exit') {
        if (unread !== undefined) throw unread;
        return exitCodeOf(event);
      } else if (event.type === 'output_lost') {
        process.stderr.write(`millibox: bytes ${event.from} to ${event.to} of ${event.channel} were lost\n`);
      }
    }
  } catch (error) {
    throw typed ? withoutKeys(error) : error;
  }
  throw new Error('the command ended without an exit code');
}

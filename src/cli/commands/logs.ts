import type { Writable } from 'node:stream';
import type { Command } from 'commander';
import type { ExecOutputEvent, Job } from '../../sdk/index.ts';
import { connect } from '../io/client.ts';
import { exitCodeOf } from '../io/exit-code.ts';
import { keepExitCodesApart } from '../io/failure.ts';
import { whole } from '../io/parse.ts';
import { write } from '../io/pump.ts';
import { readerGone } from '../io/reader-gone.ts';

interface LogOptions {
  stderr?: boolean;
  follow?: boolean;
  tail?: number;
  offset?: number;
  length?: number;
}

export function define(command: Command): void {
  keepExitCodesApart(command);
  command
    .argument('<sandbox>', 'its id')
    .argument('<exec>', 'its id')
    .option('--stderr', 'its stderr instead of its stdout')
    .option('-f, --follow', 'follow both streams until it ends, and exit as exec would')
    .option('--tail <bytes>', 'only this many bytes from the end', whole)
    .option('--offset <bytes>', 'start at this byte', whole)
    .option('--length <bytes>', 'at most this many bytes', whole)
    .addHelpText(
      'after',
      `
Gaps in the output are reported on stderr. Ctrl-C stops following; the command keeps running.

Examples:
  millibox logs sbx-0123 exe-0123 --tail 2000
  millibox logs sbx-0123 exe-0123 --offset 1000000 --length 4096
  millibox logs -f sbx-0123 exe-0123`,
    )
    .action(async (id: string, exec: string, options: LogOptions) => {
      await using client = await connect(command);
      const sandbox = client.sandboxes.at(id);
      const job = sandbox.jobs.get(exec);
      const from = await startsOf(job, options);
      if (options.follow) {
        using reader = readerGone();
        for await (const event of job.follow({ ...from, signal: reader.signal })) await show(event, process.stderr);
        return;
      }
      const channel = options.stderr ? 'stderr' : 'stdout';
      const window = { offset: from[channel], ...(options.length === undefined ? {} : { length: options.length }) };
      for await (const event of job.read(channel, window)) await show(event, process.stdout);
    });
}

/** The offset in each stream at which to begin. */
async function startsOf(job: Job, { tail, offset = 0 }: LogOptions): Promise<{ stdout: number; stderr: number }> {
  if (tail === undefined) return { stdout: offset, stderr: offset };
  const { stdoutBytes, stderrBytes } = await job.state();
  return { stdout: Math.max(0, stdoutBytes - tail), stderr: Math.max(0, stderrBytes - tail) };
}

/** @param other where stderr goes: when only one stream of the log was requested, it goes to stdout */
async function show(event: ExecOutputEvent<Buffer>, other: Writable): Promise<void> {
  if (event.type === 'stdout') await write(process.stdout, event.data);
  if (event.type === 'stderr') await write(other, event.data);
  if (event.type === 'output_lost') {
    process.stderr.write(`millibox: bytes ${event.from} to ${event.to} of ${event.channel} were discarded\n`);
  }
  if (event.type === 'exit') process.exitCode = exitCodeOf(event);
}

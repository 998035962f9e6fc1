import { chmod, mkdir, stat, utimes } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Command } from 'commander';
import type { FileStat, Sandbox } from '../../sdk/index.ts';
import { connect } from '../io/client.ts';
import { exitCodeOfSignal } from '../io/exit-code.ts';
import { writeFileAtomically } from '../io/atomic-file.ts';
import { makeDirectory } from '../../lib/make-directory.ts';
import { location } from '../io/parse.ts';
import { write } from '../io/pump.ts';
import { awaitEndSignal } from '../io/signals.ts';
import { packTree, unpackTree } from '../io/tar.ts';
import { statIfThere, uploadFile, type UploadOptions } from '../io/upload-file.ts';

/** Time to clean up after an interruption. */
const CLEANUP_MS = 2_000;

export function define(command: Command): void {
  command
    .argument('<from>', 'PATH or SANDBOX:PATH; - is stdin')
    .argument('<to>', 'PATH or SANDBOX:PATH; - is stdout')
    .option('-u, --user <user>', 'who owns it in the sandbox: name, uid, name:group or uid:gid')
    .addHelpText(
      'after',
      `
A file keeps its mode and modification time, even when it replaces another; if the target is an existing directory, it is put
there under its own name. A directory is copied recursively, with modes and times. Data from stdin has neither.

Examples:
  millibox cp data.csv sbx-0123:/app/data.csv
  millibox cp src sbx-0123:/app
  millibox cp sbx-0123:/app/results ./results
  millibox cp sbx-0123:/etc/os-release -`,
    )
    .action(async (from: string, to: string, options: { user?: string }) => {
      const source = location(from);
      const target = location(to);
      if ((source.sandbox === undefined) === (target.sandbox === undefined)) {
        command.error('error: one side is SANDBOX:PATH, the other a path of this machine');
      }
      await using client = await connect(command);
      const sandbox = client.sandboxes.at((source.sandbox ?? target.sandbox) as string);
      const owner = options.user === undefined ? {} : { owner: options.user };
      await untilSignal(async (signal) => {
        if (target.sandbox !== undefined) await upload(sandbox, source.path, target.path, { ...owner, signal });
        else await download(sandbox, source.path, target.path, signal);
      });
    });
}

/** A signal to this process aborts the work, which cleans up before the process exits. */
async function untilSignal(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  using ended = awaitEndSignal();
  const stop = new AbortController();
  let code: number | undefined;
  void ended.signal.then((name) => {
    code = exitCodeOfSignal(name);
    stop.abort(new Error(`ended by ${name}`));
    setTimeout(() => process.exit(code), CLEANUP_MS);
  });
  try {
    await work(stop.signal);
  } catch (error) {
    if (code !== undefined) process.exit(code);
    throw error;
  }
}

async function upload(sandbox: Sandbox, from: string, to: string, options: UploadOptions): Promise<void> {
  if (from === '-') {
    await sandbox.files.writeStream(to, process.stdin, options);
    return;
  }
  const here = await stat(from);
  const into = (await statIfThere(sandbox, to))?.kind === 'directory';
  const target = into ? `${to.replace(/\/+$/, '')}/${nameOf(from)}` : to;
  if (here.isDirectory()) {
    await packTree(from, (tar) => sandbox.files.uploadTar(target, tar, options));
    return;
  }
  if (!here.isFile()) throw new Error(`${from} is neither a file nor a directory`);
  await uploadFile(sandbox, from, here, target, options);
}

async function download(sandbox: Sandbox, from: string, to: string, signal: AbortSignal): Promise<void> {
  if (to === '-') {
    for await (const bytes of sandbox.files.readStream(from, { signal })) await write(process.stdout, bytes);
    return;
  }
  const there = await sandbox.files.stat(from);
  const here = await stat(to).catch(() => undefined);
  const target = here?.isDirectory() ? join(to, nameOf(from)) : to;
  if (there.kind === 'directory') {
    await downloadTree(sandbox, from, target, there, signal);
    return;
  }
  const { mode, modifiedAtMs } = there;
  await writeFileAtomically(sandbox.files.readStream(from, { signal }), target, { mode, modifiedAtMs, signal });
}

/** An existing directory keeps its mode and is modified, as with `cp -r`. */
async function downloadTree(
  sandbox: Sandbox,
  from: string,
  target: string,
  { mode, modifiedAtMs }: FileStat,
  signal: AbortSignal,
): Promise<void> {
  const here = await stat(target).catch(() => undefined);
  if (here !== undefined && !here.isDirectory()) throw new Error(`${from} is a directory, and ${target} is not`);
  const isNew = here === undefined;
  makeDirectory(dirname(target));
  // Writable for us meanwhile.
  if (isNew) await mkdir(target, { mode: (mode & 0o777) | 0o700 });
  await unpackTree(sandbox.files.downloadTar(from, { signal }), target);
  if (!isNew) return;
  await chmod(target, (await stat(target)).mode & mode & 0o777);
  await utimes(target, modifiedAtMs / 1000, modifiedAtMs / 1000);
}

/** The name under which a copy lands in a directory. For a path without a name, its contents are copied. */
function nameOf(path: string): string {
  const name = basename(path);
  return name === '..' ? '.' : name;
}

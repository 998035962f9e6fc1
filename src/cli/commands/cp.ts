import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import type { Sandbox } from '../../sdk/index.ts';
import { connect } from '../io/client.ts';
import { location } from '../io/parse.ts';
import { write } from '../io/pump.ts';
import { packTree, unpackTree } from '../io/tar.ts';

export function define(command: Command): void {
  command
    .argument('<from>', 'PATH or SANDBOX:PATH; - is stdin')
    .argument('<to>', 'PATH or SANDBOX:PATH; - is stdout')
    .option('-u, --user <user>', 'who owns it in the sandbox: name, uid, name:group or uid:gid')
    .addHelpText(
      'after',
      `
A directory is copied with all below it. A file lands in a directory that is there under its own name.

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
      await using client = connect(command);
      const sandbox = client.sandboxes.at((source.sandbox ?? target.sandbox) as string);
      const owner = options.user === undefined ? {} : { owner: options.user };
      if (target.sandbox !== undefined) await upload(sandbox, source.path, target.path, owner);
      else await download(sandbox, source.path, target.path);
    });
}

async function upload(sandbox: Sandbox, from: string, to: string, owner: { owner?: string }): Promise<void> {
  if (from === '-') {
    await sandbox.files.writeStream(to, process.stdin, owner);
    return;
  }
  const here = await stat(from);
  const into = await isDirectoryInside(sandbox, to);
  const target = into ? `${to.replace(/\/+$/, '')}/${basename(from)}` : to;
  if (here.isDirectory()) {
    await sandbox.files.mkdir(target, owner);
    await packTree(from, (tar) => sandbox.files.uploadTar(target, tar, owner));
    return;
  }
  if (!here.isFile()) throw new Error(`${from} is neither a file nor a directory`);
  await sandbox.files.writeStream(target, createReadStream(from), { ...owner, mode: here.mode & 0o7777 });
}

async function download(sandbox: Sandbox, from: string, to: string): Promise<void> {
  if (to === '-') {
    for await (const bytes of sandbox.files.readStream(from)) await write(process.stdout, bytes);
    return;
  }
  const there = await sandbox.files.stat(from);
  const here = await stat(to).catch(() => undefined);
  const target = here?.isDirectory() ? join(to, basename(from)) : to;
  if (there.kind === 'directory') {
    await mkdir(target, { recursive: true });
    await unpackTree(sandbox.files.downloadTar(from), target);
    return;
  }
  await mkdir(dirname(target), { recursive: true });
  // Under another name first: a download that breaks off leaves no half file under the right one.
  const partial = join(dirname(target), `.${basename(target)}.${process.pid}.partial`);
  try {
    await pipeline(sandbox.files.readStream(from), createWriteStream(partial, { mode: there.mode & 0o777 }));
    await rename(partial, target);
  } finally {
    await rm(partial, { force: true });
  }
}

async function isDirectoryInside(sandbox: Sandbox, path: string): Promise<boolean> {
  return (await sandbox.files.exists(path)) && (await sandbox.files.stat(path)).kind === 'directory';
}

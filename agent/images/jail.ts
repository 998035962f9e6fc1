/**
 * Archives are hostile. Anything that reads one runs in namespaces that contain only the programs, its input and its
 * output: no network, no other host files, and only the privileges needed to create an image's files.
 */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { ServiceError } from '../../src/protocol/errors.ts';
import { runTool, type ToolOptions } from '../run-tool.ts';

const BWRAP = '/usr/bin/bwrap';

const JAIL = [
  '--unshare-ipc',
  '--unshare-pid',
  '--unshare-net',
  '--unshare-uts',
  '--die-with-parent',
  '--ro-bind', '/usr', '/usr',
  '--symlink', 'usr/bin', '/bin',
  '--symlink', 'usr/lib', '/lib',
  '--symlink', 'usr/lib64', '/lib64',
  '--proc', '/proc',
  '--dev', '/dev',
  '--tmpfs', '/tmp',
  // Enough to set owners, modes and file capabilities and to create device nodes; nothing more.
  '--cap-drop', 'ALL',
  '--cap-add', 'CAP_CHOWN',
  '--cap-add', 'CAP_DAC_OVERRIDE',
  '--cap-add', 'CAP_FOWNER',
  '--cap-add', 'CAP_FSETID',
  '--cap-add', 'CAP_MKNOD',
  '--cap-add', 'CAP_SETFCAP',
]; // prettier-ignore

export interface Binds {
  /** Host path → path in the jail. */
  readOnly: Readonly<Record<string, string>>;
  writable?: Readonly<Record<string, string>>;
}

/**
 * Runs a command and returns its standard output.
 * @throws ToolError as `runTool`; ServiceError `not_supported` without bubblewrap.
 */
export async function runInJail(binds: Binds, command: readonly string[], options: ToolOptions): Promise<string> {
  try {
    await access(BWRAP, constants.X_OK);
  } catch (error) {
    throw new ServiceError('not_supported', 'images need bubblewrap on the node', { cause: error });
  }
  const mounts = [
    ...Object.entries(binds.readOnly).flatMap(([from, to]) => ['--ro-bind', from, to]),
    ...Object.entries(binds.writable ?? {}).flatMap(([from, to]) => ['--bind', from, to]),
  ];
  return await runTool(BWRAP, [...JAIL, ...mounts, '--', ...command], options);
}

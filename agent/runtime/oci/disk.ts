/**
 * Disk limits: a sandbox's own files are on a file system of that size, in a file behind a loop device. Quotas would
 * need kernel and file system support; this works everywhere.
 */
import { mkdir, realpath, rmdir, statfs, unlink } from 'node:fs/promises';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { ServiceError } from '../../../src/protocol/errors.ts';
import { MIN_DISK_MB } from '../../../src/protocol/limits.ts';
import { runTool, ToolError } from '../../run-tool.ts';
import { Coprocess } from './coprocess.ts';
import { EmptyDisks } from './empty-disks.ts';
import { pathIn } from './mount-table.ts';

const TOOL_MS = 60_000;
const MEBIBYTE = 1024 * 1024;

/**
 * Reads a command word, then one line per argument. No barriers: no sandbox survives a reboot, so the order in which
 * writes reach the node's disk does not matter.
 */
const SCRIPT = `
while read -r what; do
  case "$what" in
    mount)
      IFS= read -r template && IFS= read -r file && IFS= read -r point &&
        cp --sparse=always --reflink=auto -- "$template" "$file" &&
        mount -o loop,noatime,nobarrier,nodev,nosuid -t ext4 "$file" "$point"
      ;;
    umount) IFS= read -r point && umount --lazy "$point" ;;
  esac
  echo "status $?"
done 2>&1`;

export class Disks {
  readonly #dir: string;
  readonly #empty: EmptyDisks;
  /**
   * In MiB. A limit is not a reservation, so disks may be larger than the free space; but none can hold more than this.
   */
  readonly maxMb: number;
  /** Runs the per-sandbox commands. */
  readonly #shell = new Coprocess({
    name: 'the mounting of disks',
    command: ['sh', '-c', SCRIPT],
    deadlineMs: TOOL_MS,
    isLast: (line) => line.startsWith('status '),
  });

  /** `dir` is a shared mount point: mounts below it propagate into the blanks. */
  private constructor(dir: string, empty: EmptyDisks, maxMb: number) {
    this.#dir = dir;
    this.#empty = empty;
    this.maxMb = maxMb;
  }

  static async open(ociDir: string): Promise<Disks> {
    await mkdir(join(ociDir, 'disks'), { recursive: true, mode: 0o700 });
    // As the kernel names it: a path component may be a symbolic link.
    const dir = await realpath(join(ociDir, 'disks'));
    const empty = await EmptyDisks.open(join(ociDir, 'empty-disks'));
    const mounted = mountPointsBelow(dir);
    for (const point of mounted.filter((each) => each !== dir)) await tool('umount', ['--lazy', point]);
    if (!mounted.includes(dir)) {
      await tool('mount', ['--bind', dir, dir]);
      await tool('mount', ['--make-private', dir]);
      await tool('mount', ['--make-shared', dir]);
    }
    const { blocks, bsize } = await statfs(ociDir);
    return new Disks(dir, empty, Math.floor((blocks * bsize) / MEBIBYTE));
  }

  /** The directory whose mounts blanks see. */
  get dir(): string {
    return this.#dir;
  }

  /**
   * Creates a file system of `sizeMb` MiB in `file` and mounts it where blanks see it.
   * @returns the mount point; call `release` once the sandbox has it.
   * @throws ServiceError `capacity_exhausted` if the node is too full, `internal`.
   */
  async mount(id: string, file: string, sizeMb: number): Promise<string> {
    if (sizeMb < MIN_DISK_MB) throw new ServiceError('invalid_request', `a disk must be at least ${MIN_DISK_MB} MiB`);
    const point = join(this.#dir, id);
    try {
      await this.#empty.use(sizeMb, async (template) => {
        await mkdir(point, { mode: 0o711 });
        await this.#run('mount', template, file, point);
      });
      await mkdir(join(point, 'upper'), { mode: 0o755 });
      await mkdir(join(point, 'work'), { mode: 0o700 });
    } catch (error) {
      throw diskError('the disk of a sandbox could not be made', error);
    }
    return point;
  }

  /**
   * Unmounts it on the host; the sandbox keeps it. The loop device disappears with the sandbox.
   * @throws ServiceError `internal` if it stays mounted: the mount point then holds a sandbox's files.
   */
  async release(id: string): Promise<void> {
    const point = join(this.#dir, id);
    if (!existsSync(point)) return;
    try {
      await this.#run('umount', point);
    } catch (error) {
      // After a failed mount, or one by an earlier agent, there may be only the mount point.
      if (mountPointsBelow(point).length > 0) throw error;
    }
    await removeMountPoint(point);
  }

  /** `empty`: no container is left. Otherwise the mount point stays, or blanks would not see a later agent's mounts. */
  async close(empty: boolean): Promise<void> {
    this.#shell.close();
    // Lazy: a dying container may hold the mount a moment longer.
    if (empty) await tool('umount', ['--lazy', this.#dir]).catch(() => undefined);
  }

  /** @throws ServiceError as `diskError`. */
  async #run(what: 'mount' | 'umount', ...paths: string[]): Promise<void> {
    const lines = await this.#shell.request([what, ...paths].join('\n'));
    if (lines.at(-1) === 'status 0') return;
    throw diskError(`the ${what} of a disk failed`, new Error(lines.slice(0, -1).join(' ').slice(0, 500)));
  }
}

/** A disk limit is not a reservation: the node may be too full to create the disk. The tools' output is for the log. */
export function diskError(message: string, cause: unknown): ServiceError {
  if (cause instanceof ServiceError) return cause;
  const words = cause instanceof ToolError ? cause.output : String(cause);
  const isFull = /no space left|disk quota exceeded/i.test(words);
  if (!isFull) return new ServiceError('internal', message, { cause });
  return new ServiceError('capacity_exhausted', 'the node has no room left for the disk of a sandbox', { cause });
}

/** Never recursive: it must be empty. */
async function removeMountPoint(point: string): Promise<void> {
  try {
    await rmdir(point);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOTDIR') throw error;
    await unlink(point);
  }
}

async function tool(name: string, args: readonly string[]): Promise<void> {
  await runTool(name, args, { deadlineMs: TOOL_MS });
}

/** The mount points at and below a directory, deepest first, as the kernel names them: without symbolic links. */
export function mountPointsBelow(path: string, mountinfo = readFileSync('/proc/self/mountinfo', 'utf8')): string[] {
  const dir = existsSync(path) ? realpathSync(path) : path;
  return mountinfo
    .split('\n')
    .map((line) => pathIn(line.split(' ')[4] ?? ''))
    .filter((point) => point === dir || point.startsWith(`${dir}/`))
    .reverse();
}

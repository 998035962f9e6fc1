/** The record of a running `up` in its home: for the CLI on this machine, and for the next `up` there. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

interface UpFile {
  /** Process id of the `up` itself. */
  pid: number;
  url: string;
  /** Process ids of the gateway and the agents. */
  pids: number[];
}

export const upFile = (home: string): string => join(home, 'run', 'up.json');

export function writeUpFile(home: string, content: UpFile): void {
  writeFileSync(upFile(home), `${JSON.stringify(content)}\n`, { mode: 0o600 });
}

export function removeUpFile(home: string): void {
  rmSync(upFile(home), { force: true });
}

/**
 * Ensures one `up` per home. A killed `up` leaves its parts running: they are ended, and the next agent adopts or
 * removes what they leave.
 * @throws Error when one is running here
 */
export function claimHome(home: string): void {
  const before = readUpFile(home);
  if (before === undefined) return;
  if (before.pid !== process.pid && wordsOf(before.pid).includes('up') && isOurs(before.pid)) {
    throw new Error(
      `millibox is already up here, as process ${before.pid} (${home}); stop it first, or choose another --home`,
    );
  }
  for (const pid of before.pids) {
    if (isPart(pid, home)) endNow(pid);
  }
  removeUpFile(home);
}

/** Undefined if there is no complete record: a killed `up` may have left half of one. */
function readUpFile(home: string): UpFile | undefined {
  try {
    return JSON.parse(readFileSync(upFile(home), 'utf8')) as UpFile;
  } catch (error) {
    if (error instanceof SyntaxError || isCode(error, ['ENOENT'])) return undefined;
    throw error;
  }
}

function endNow(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    // It has exited by itself in the meantime.
    if (!isCode(error, ['ESRCH'])) throw error;
  }
}

/**
 * Whether the process is alive and belongs to the service of this home. Process ids are reused, after a reboot by
 * anything, and many programs are called main.js: parts are recognised by the home's files in their environment.
 */
function isPart(pid: number, home: string): boolean {
  return isOurs(pid) && namesIn(`/proc/${pid}/environ`).some((variable) => variable.includes(`=${home}/`));
}

const isOurs = (pid: number): boolean => wordsOf(pid).some((word) => word.endsWith('main.js'));
const wordsOf = (pid: number): string[] => namesIn(`/proc/${pid}/cmdline`);

function namesIn(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\0');
  } catch (error) {
    // It has exited, or belongs to another user.
    if (!isCode(error, ['ENOENT', 'ESRCH', 'EACCES', 'EPERM'])) throw error;
    return [];
  }
}

const isCode = (error: unknown, codes: readonly string[]): boolean =>
  codes.includes((error as NodeJS.ErrnoException).code ?? '');

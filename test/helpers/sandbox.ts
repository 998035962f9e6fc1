/** Inspects a sandbox from inside. Needs only sh and python3: slim images have no procps. */
import type { Sandbox } from '../../src/sdk/index.ts';

const LIST = `
import os, sys
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        words = open(f"/proc/{pid}/cmdline", "rb").read().rstrip(b"\\0").replace(b"\\0", b" ")
        state = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0]
    except OSError:
        continue
    print(pid, state, words.decode("utf8", "replace").replace("\\n", " "))
`;

export interface SandboxProcess {
  pid: number;
  /** As in /proc: R, S, Z, ... */
  state: string;
  command: string;
}

/** All processes of the sandbox except those of the inspection. */
export async function processes(sandbox: Sandbox): Promise<SandboxProcess[]> {
  const { stdout } = await sandbox.exec(['python3', '-c', LIST], { check: true });
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => {
      const [pid = '', state = '', ...words] = line.split(' ');
      return { pid: Number(pid), state, command: words.join(' ') };
    })
    .filter(({ command }) => !command.startsWith('python3 -c \nimport os') && !command.includes('import os, sys'));
}

/** Command lines of living processes that contain the text. */
export async function running(sandbox: Sandbox, text: string): Promise<string[]> {
  const all = await processes(sandbox);
  return all.filter(({ state, command }) => state !== 'Z' && command.includes(text)).map(({ command }) => command);
}

const KILL = `
import os, signal, sys
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        words = open(f"/proc/{pid}/cmdline", "rb").read().replace(b"\\0", b" ").decode("utf8", "replace")
        if sys.argv[1] in words and int(pid) != os.getpid(): os.kill(int(pid), signal.SIGKILL)
    except OSError:
        continue
`;

/** Kills leftovers of a test: processes whose command line contains the text. */
export async function killRunning(sandbox: Sandbox, text: string): Promise<void> {
  await sandbox.exec(['python3', '-c', KILL, text], { check: true });
}

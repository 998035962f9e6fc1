/** Runs one of the image tools: bounded in time and in what it may say, ended with its signal. */
import { spawn } from 'node:child_process';
import { withDeadline } from '../../src/lib/deadline.ts';

const KEPT_BYTES = 64 * 1024;

/** Of every program that is run here: nothing of the agent's own is in it. */
export const TOOL_ENVIRONMENT = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  LC_ALL: 'C',
  HOME: '/root',
};

export class ToolError extends Error {
  override readonly name = 'ToolError';
  readonly output: string;
  constructor(tool: string, status: string, output: string) {
    super(`${tool} ended with ${status}: ${output.trim().slice(-500)}`);
    this.output = output;
  }
}

/**
 * Of util-linux, which every Debian has. The kernel ends the tool with the thread that started it: Node starts programs
 * from its main thread, whose end is that of the process.
 */
const ENDED_WITH_US = ['setpriv', '--pdeathsig', 'KILL', '--'];

export interface ToolOptions {
  deadlineMs: number;
  signal?: AbortSignal | undefined;
  /** Ended also when this process is killed: of tools that others can keep waiting. What the tool starts is not. */
  endsWithUs?: boolean;
  /** What the tool reads. */
  input?: string;
  onLine?: (line: string) => void;
}

/**
 * Standard output as text.
 * @throws ToolError with the tool's own words; ServiceError `deadline_exceeded`, or the signal's reason.
 */
export async function runTool(tool: string, args: readonly string[], options: ToolOptions): Promise<string> {
  const { deadlineMs, signal } = options;
  return await withDeadline({ deadlineMs, signal, what: tool }, (linked) => {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const [program = tool, ...rest] = [...(options.endsWithUs === true ? ENDED_WITH_US : []), tool, ...args];
    const child = spawn(program, rest, {
      stdio: ['pipe', 'pipe', 'pipe'],
      // A group of its own, so that what the tool starts ends with it.
      detached: true,
      env: TOOL_ENVIRONMENT,
    });
    const kill = (): void => {
      if (child.pid === undefined) return;
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {
        // Ended already.
      }
    };
    linked.addEventListener('abort', kill, { once: true });
    let out = '';
    let words = '';
    // A tool that does not read all that it is given says why by its status.
    child.stdin.on('error', () => undefined).end(options.input ?? '');
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (out.length < 16 * 1024 * 1024) out += text;
      if (options.onLine !== undefined) for (const line of text.split('\n')) if (line !== '') options.onLine(line);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      words = (words + text).slice(-KEPT_BYTES);
    });
    child.once('error', (error) => reject(new ToolError(tool, error.message, words)));
    child.once('close', (code, by) => {
      linked.removeEventListener('abort', kill);
      if (code === 0) resolve(out);
      else reject(new ToolError(tool, by === null ? `status ${code}` : by, words));
    });
    return promise;
  });
}

/** Runs a program of the host with a deadline, bounded output, and an abort signal. */
import { spawn } from 'node:child_process';
import { withDeadline } from '../src/lib/deadline.ts';
import { TOOLS_PATH } from './tools-path.ts';

const KEPT_BYTES = 64 * 1024;

/** The environment of every tool, which contains nothing of the agent's. */
export const TOOL_ENVIRONMENT = {
  PATH: TOOLS_PATH,
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
 * setpriv is part of util-linux, which every Debian has. The kernel kills the tool when the thread that started it
 * ends: in Node that is the main thread, which ends with the process.
 */
const ENDED_WITH_US = ['setpriv', '--pdeathsig', 'KILL', '--'];

export interface ToolOptions {
  deadlineMs: number;
  signal?: AbortSignal | undefined;
  /** Also kill the tool, but not its children, if this process is killed; for tools that a peer can keep waiting. */
  endsWithUs?: boolean;
  /** Its standard input. */
  input?: string;
  onLine?: (line: string) => void;
}

/**
 * Returns standard output as text.
 * @throws ToolError with the tool's output; ServiceError `deadline_exceeded`, or the signal's reason.
 */
export async function runTool(tool: string, args: readonly string[], options: ToolOptions): Promise<string> {
  const { deadlineMs, signal } = options;
  return await withDeadline({ deadlineMs, signal, what: tool }, (linked) => {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const [program = tool, ...rest] = [...(options.endsWithUs === true ? ENDED_WITH_US : []), tool, ...args];
    const child = spawn(program, rest, {
      stdio: ['pipe', 'pipe', 'pipe'],
      // Its own process group, so that its children can be killed with it.
      detached: true,
      env: TOOL_ENVIRONMENT,
    });
    const kill = (): void => {
      if (child.pid === undefined) return;
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {
        // It has already exited.
      }
    };
    linked.addEventListener('abort', kill, { once: true });
    let out = '';
    let words = '';
    // A tool that exits without reading all its input reports the reason in its status.
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

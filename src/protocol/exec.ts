/** The noun `exec`: one command in a sandbox. */
import * as z from 'zod';
import { EnvMap } from './sandbox.ts';
import {
  MAX_ARG_BYTES,
  MAX_BLOCKING_STDIN_BYTES,
  MAX_MAX_OUTPUT_BYTES,
  MAX_RING_BYTES,
  MAX_SCRIPT_BYTES,
  MAX_TIMEOUT_MS,
} from './limits.ts';
import { byteLengthOf } from './names.ts';

const Text = z.string().regex(/^[^\0]*$/, 'a zero byte cannot be passed to a program');

/**
 * Limits count bytes, as the kernel does. A text never has more characters than bytes, so the schema may give both
 * limits.
 */
const textUpTo = (bytes: number) =>
  Text.max(bytes).refine((text) => byteLengthOf(text) <= bytes, `more than ${bytes} bytes`);

/** The kernel limits the size of one variable: with a larger one no program starts. */
export const variableFits = ([name, value]: [name: string, value: string]): boolean =>
  byteLengthOf(name) + 1 + byteLengthOf(value) <= MAX_ARG_BYTES;

const ProgramEnv = EnvMap.refine(
  (env) => Object.entries(env).every(variableFits),
  `a variable takes at most ${MAX_ARG_BYTES} bytes, its name included`,
);

/** What to run. A string runs as `sh -c`, a list runs without a shell. */
const execFields = {
  command: textUpTo(MAX_SCRIPT_BYTES).min(1).optional(),
  argv: z.array(textUpTo(MAX_ARG_BYTES)).min(1).max(65_536).optional(),
  shell: z.enum(['sh', 'bash']).optional().describe('For a string command; bash falls back to sh'),
  cwd: Text.max(4096).optional().describe("Absolute, or relative to the image's WORKDIR"),
  env: ProgramEnv.optional(),
  user: Text.min(1).max(256).optional().describe('name, uid, name:group or uid:gid'),
  timeoutMs: z.int().min(1).max(MAX_TIMEOUT_MS).optional(),
  killGraceMs: z.int().min(0).max(60_000).optional(),
};

const oneOf = (request: { command?: string | undefined; argv?: string[] | undefined }): boolean =>
  (request.command === undefined) !== (request.argv === undefined);
const ONE_OF = 'give either command (a string, for the shell) or argv (a list)';

const MAX_STDIN_CHARACTERS = 4 * Math.ceil(MAX_BLOCKING_STDIN_BYTES / 3);

function fitsStdin({ stdin = '', encoding }: { stdin?: string | undefined; encoding: 'utf8' | 'base64' }): boolean {
  return Buffer.byteLength(stdin, encoding) <= MAX_BLOCKING_STDIN_BYTES;
}

/** Body of `POST /v1/sandboxes/{id}/exec`. */
export const ExecRequest = z
  .strictObject({
    ...execFields,
    stdin: z.string().max(MAX_STDIN_CHARACTERS).optional().describe('Text, or base64 when encoding says so; 16 MiB'),
    maxOutputBytes: z.int().min(0).max(MAX_MAX_OUTPUT_BYTES).optional().describe('Per channel'),
    encoding: z.enum(['utf8', 'base64']).default('utf8').describe('Of stdin, stdout and stderr'),
    background: z.boolean().optional(),
  })
  .refine(oneOf, ONE_OF)
  .refine(fitsStdin, { path: ['stdin'], message: `more than ${MAX_BLOCKING_STDIN_BYTES} bytes` });
export type ExecRequest = z.infer<typeof ExecRequest>;

/** Size of a terminal, in characters; boxinit accepts no other values. */
export const TerminalSize = z.strictObject({ cols: z.int().min(1).max(10_000), rows: z.int().min(1).max(10_000) });
export type TerminalSize = z.infer<typeof TerminalSize>;

/** Payload of an exec stream's OPEN, on the client's WebSocket. Output and stdin are DATA frames. */
export const ExecOpen = z.strictObject({
  op: z.literal('exec'),
  sandbox: z.string(),
  id: z.string().optional().describe('Chosen by the client, so that a retry finds the same exec'),
  ...execFields,
  stdin: z.boolean().optional().describe('Whether stdin follows; without it the program reads end-of-file'),
  pty: TerminalSize.optional(),
  ringBytes: z.int().min(0).max(MAX_RING_BYTES).optional(),
  /** Length of the script that follows on channel SCRIPT, in place of `command`. */
  scriptBytes: z.int().min(1).max(MAX_SCRIPT_BYTES).optional(),
  background: z.boolean().optional().describe('Keeps running with nobody attached'),
  /** How long to keep running when the client's link is cut, waiting for `attach`. 0: killed at once. */
  detachedMs: z.int().min(0).max(MAX_TIMEOUT_MS).optional(),
});
export type ExecOpen = z.infer<typeof ExecOpen>;

/** Payload of an OPEN that continues an exec's streams at these byte offsets. */
export const AttachOpen = z.strictObject({
  op: z.literal('attach'),
  sandbox: z.string(),
  id: z.string(),
  stdout: z.int().min(0).optional(),
  stderr: z.int().min(0).optional(),
});
export type AttachOpen = z.infer<typeof AttachOpen>;

/** Signal names, as in `kill -l`. */
export const SignalName = z.enum([
  'HUP',
  'INT',
  'QUIT',
  'ABRT',
  'KILL',
  'USR1',
  'USR2',
  'PIPE',
  'ALRM',
  'TERM',
  'CONT',
  'STOP',
  'TSTP',
  'WINCH',
]);
export type SignalName = z.infer<typeof SignalName>;

/** Payload of OPENED: the command runs. A field that is missing or malformed takes its default. */
export const ExecOpened = z.object({
  pid: z.number().nullable().catch(null),
  /** How long it waited for its sandbox. */
  queueMs: z.number().catch(0),
  /** How much of stdin has been received; more than 0 only for a command that was running before. */
  stdinBytes: z.number().catch(0),
});
export type ExecOpened = z.infer<typeof ExecOpened>;

/** EVENT payloads that the opener of an exec sends. */
export type ExecCommand =
  | { type: 'signal'; signal: SignalName; /** Only the leader's group, or everything it started. */ all?: boolean }
  | { type: 'kill' }
  | { type: 'resize'; cols: number; rows: number };

/** EVENT payloads that the runner of an exec sends. `exit` is the last one. */
export type ExecEvent =
  { type: 'output_lost'; channel: 'stdout' | 'stderr'; from: number; to: number } | ({ type: 'exit' } & ExecExit);

/** How a program ended, as boxinit saw it. */
export const ExecExit = z.object({
  /** 128 + n for a death by signal n. */
  exitCode: z.int(),
  /** `TERM`, `KILL`, …; null for an ordinary exit. */
  signal: z.string().nullable(),
  timedOut: z.boolean(),
  oomKilled: z.boolean(),
  /** Total number of bytes the program wrote. */
  stdoutBytes: z.int(),
  stderrBytes: z.int(),
  durationMs: z.number(),
  usage: z.object({ userMs: z.number(), systemMs: z.number(), maxRssKb: z.number() }).optional(),
});
export type ExecExit = z.infer<typeof ExecExit>;

/** Answer of a blocking exec. A non-zero exit is a result, never an error. */
export const ExecResult = z.object({
  execId: z.string(),
  exitCode: z.int(),
  signal: z.string().nullable(),
  stdout: z.string(),
  stderr: z.string(),
  timedOut: z.boolean(),
  oomKilled: z.boolean(),
  truncated: z.object({ stdout: z.boolean(), stderr: z.boolean() }),
  stdoutBytes: z.int(),
  stderrBytes: z.int(),
  durationMs: z.number(),
  /** How long it waited for the sandbox. */
  queueMs: z.number(),
});
export type ExecResult = z.infer<typeof ExecResult>;

/** One exec as a list shows it. */
export const ExecState = z.object({
  execId: z.string(),
  state: z.enum(['running', 'exited']),
  background: z.boolean(),
  attached: z.boolean().optional().describe('A client is attached and receives its output'),
  startedAt: z.string(),
  stdoutBytes: z.int(),
  stderrBytes: z.int(),
  /** For a background command: the first byte of each channel that can still be read. */
  stdoutFrom: z.int().optional(),
  stderrFrom: z.int().optional(),
  exit: ExecExit.nullable(),
});
export type ExecState = z.infer<typeof ExecState>;

/** Body of the answer to `GET /v1/sandboxes/{id}/execs`. */
export const ExecList = z.object({
  execs: z.array(ExecState),
  more: z.boolean().optional().describe('Some that have ended are not listed; each can be queried by its id'),
});
export type ExecList = z.infer<typeof ExecList>;
